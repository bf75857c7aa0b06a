# SPDX-License-Identifier: Apache-2.0
"""SNRs, seeds and bandwidth ratios."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genjscc.errors import InvalidInputError
from genjscc.limits import MAX_SEED, MAX_SNR_DB, MIN_SNR_DB
from genjscc.wire.numbers import checked_seed, checked_snr_db
from genjscc.wire.ratios import format_ratio, parse_ratio


@given(st.floats(MIN_SNR_DB, MAX_SNR_DB))
def test_reasonable_snr_passes(snr_db: float) -> None:
    assert checked_snr_db(snr_db) == snr_db


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -30.1, 60.1, 1e300, "ten", None])
def test_absurd_snr_is_refused_by_field_and_value(value: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        checked_snr_db(value, field="told")
    assert caught.value.field == "told"
    assert str(value) in str(caught.value)


def test_seeds_are_what_every_language_holds() -> None:
    assert checked_seed(0) == 0
    assert checked_seed(MAX_SEED) == MAX_SEED
    for wrong in (-1, MAX_SEED + 1):
        with pytest.raises(InvalidInputError, match=f"seed: got {wrong}"):
            checked_seed(wrong)


@given(st.integers(1, 10**6).flatmap(lambda d: st.tuples(st.integers(1, d), st.just(d))))
def test_ratio_round_trip(parts: tuple[int, int]) -> None:
    ratio = Fraction(*parts)
    assert parse_ratio(format_ratio(ratio)) == ratio


def test_ratios_as_people_write_them() -> None:
    assert parse_ratio("1/48") == Fraction(1, 48)
    assert parse_ratio("32/1536") == Fraction(1, 48)
    assert parse_ratio("0.25") == Fraction(1, 4)
    assert parse_ratio("1") == 1


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "1/0", "0", "0/5", "-1/48", "2", "49/48", "nan", "inf", "1/48/2", "1 / 48\n"),
        *("1e999999999", "1e-999999999", "9" * 5000, "1/" + "9" * 5000, "\u0661/48"),
    ],
)
def test_what_is_no_ratio_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_ratio(text, field="rate")
    assert caught.value.field == "rate"
    assert len(str(caught.value)) < 300
