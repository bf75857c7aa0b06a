# SPDX-License-Identifier: Apache-2.0
"""Checks of single numbers in requests."""

from __future__ import annotations

import math

from genjscc.errors import InvalidInputError, quoted
from genjscc.limits import MAX_SEED, MAX_SNR_DB, MIN_SNR_DB


def checked_snr_db(value: float, *, field: str = "snr_db") -> float:
    """Check an SNR in dB and its range.

    Raises:
        InvalidInputError: not finite, or outside [-30, 60] dB.
    """
    try:
        good = (
            not isinstance(value, bool)
            and math.isfinite(value)
            and MIN_SNR_DB <= value <= MAX_SNR_DB
        )
    except (TypeError, OverflowError):  # not a number, or one beyond float
        good = False
    if not good:
        raise InvalidInputError(
            field, f"got {quoted(value)}; must be in dB, from {MIN_SNR_DB:g} to {MAX_SNR_DB:g}"
        )
    return value


def checked_seed(value: int, *, field: str = "seed") -> int:
    """Check a seed: an unsigned integer that fits all languages.

    Raises:
        InvalidInputError: outside 0..2^63-1.
    """
    if not 0 <= value <= MAX_SEED:
        raise InvalidInputError(field, f"got {value}; must be from 0 to {MAX_SEED} (2^63-1)")
    return value
