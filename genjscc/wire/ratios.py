# SPDX-License-Identifier: Apache-2.0
"""Bandwidth ratios in text form: "1/48"."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from genjscc.errors import InvalidInputError, quoted

# No exponents and few digits: Fraction would compute 10**999999999 to read "1e999999999".
_RATIO = re.compile(r"\d{1,7}(/\d{1,7}|\.\d{1,12})?", re.ASCII)


# Clients ask for the same few again and again.
@lru_cache(256)
def parse_ratio(text: str, *, field: str = "bandwidth_ratio") -> Fraction:
    """Parse rho from "1/48" or a decimal to an exact fraction.

    Raises:
        InvalidInputError: not a number in (0, 1].
    """
    ratio = parse_fraction(text, field=field)
    if not 0 < ratio <= 1:
        raise InvalidInputError(field, f"got {text!r}; must be above 0 and at most 1")
    return ratio


def parse_fraction(text: str, *, field: str) -> Fraction:
    """Parse a non-negative number from "1/48" or a decimal, with a denominator below 10^6.

    Raises:
        InvalidInputError: not a number.
    """
    if not _RATIO.fullmatch(text):
        raise InvalidInputError(field, f"got {quoted(text)}; must be a fraction such as '1/48'")
    try:
        return Fraction(text).limit_denominator(10**6)
    except ZeroDivisionError:
        return Fraction(0)


def format_ratio(ratio: Fraction) -> str:
    """Format a ratio as in the protocol and in result files: "1/48"."""
    return f"{ratio.numerator}/{ratio.denominator}"
