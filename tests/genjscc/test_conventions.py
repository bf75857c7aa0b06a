# SPDX-License-Identifier: Apache-2.0
"""Conversions between the field's conventions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from genjscc.conventions import bits_per_symbol, rate_from, snr_from
from genjscc.errors import InvalidInputError

KODAK = (768, 512)
SAME = {  # one cost, as six papers would write it
    "rho": Fraction(1, 48),
    "real": Fraction(1, 24),
    "pixel": Fraction(1, 16),
    "factor": Fraction(48),
    "k": Fraction(24576),
    "bpp": Fraction(1, 8),
}


@pytest.mark.parametrize("convention", SAME)
def test_one_cost_in_all_conventions(convention: str) -> None:
    rate = rate_from(SAME[convention], convention, KODAK, 2.0)
    assert rate.rho == SAME["rho"]
    assert (rate.real_ratio, rate.per_pixel, rate.factor, rate.k) == tuple(
        SAME[name] for name in ("real", "pixel", "factor", "k")
    )
    assert rate.bits_per_pixel(2.0) == 1 / 8
    assert rate.bits(2.0) == 2 * 24576


def test_snr_of_the_same_noise_in_all_conventions() -> None:
    for snr in (snr_from(10, "symbol", 4), snr_from(10 - 10 * math.log10(4), "bit", 4)):
        assert snr.symbol_db == pytest.approx(10)
        assert snr.bit_db == pytest.approx(10 - 6.0206, abs=1e-4)
        assert snr.noise_variance == pytest.approx(0.1)
    assert snr_from(13.0103, "real-noise").symbol_db == pytest.approx(10, abs=1e-4)


@pytest.mark.parametrize("snr_db", [-60.0, -5.0, 0.0, 20.0])
def test_snr_per_bit_at_capacity(snr_db: float) -> None:
    there = snr_from(snr_db, "symbol")
    assert there.bits_per_symbol == pytest.approx(math.log2(1 + 10 ** (snr_db / 10)))
    if snr_db > -20:  # the slope ends near the Shannon limit
        assert snr_from(there.bit_db, "bit").symbol_db == pytest.approx(snr_db, abs=1e-6)
    assert there.bit_db > 10 * math.log10(math.log(2))


def test_at_0_db_a_symbol_carries_one_bit() -> None:
    assert bits_per_symbol(0) == 1
    assert snr_from(0, "symbol").bit_db == 0


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"Eb/N0 = -1\.6 dB; must be above -1\.59 dB"):
        snr_from(-1.6, "bit")
    with pytest.raises(InvalidInputError, match="value: got 0"):
        rate_from(Fraction(0), "rho", KODAK, 1.0)
    with pytest.raises(InvalidInputError, match="too large"):
        rate_from(Fraction(48), "rho", (1, 1), 1.0).rho and rate_from(
            Fraction(10**6), "k", (1, 1), 1.0
        )
    with pytest.raises(InvalidInputError, match="bits_per_symbol: got 0"):
        snr_from(0, "symbol", 0)
