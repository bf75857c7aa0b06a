# SPDX-License-Identifier: Apache-2.0
"""Bandwidth ratios as people write them: "1/48"."""

from __future__ import annotations

from fractions import Fraction

from genjscc.errors import InvalidInputError


def parse_ratio(text: str, *, field: str = "bandwidth_ratio") -> Fraction:
    """Rho as an exact fraction, from "1/48" or a decimal.

    Raises:
        InvalidInputError: not a number in (0, 1].

    """
    try:
        ratio = Fraction(text).limit_denominator(10**6)
    except (ValueError, ZeroDivisionError) as error:
        raise InvalidInputError(
            field, f"got {text!r}; must be a fraction such as '1/48'"
        ) from error
    if not 0 < ratio <= 1:
        raise InvalidInputError(field, f"got {text!r}; must be above 0 and at most 1")
    return ratio


def format_ratio(ratio: Fraction) -> str:
    """The way the protocol and the result files write it: "1/48"."""
    return f"{ratio.numerator}/{ratio.denominator}"
