# SPDX-License-Identifier: Apache-2.0
"""SNR from the power of a codeword alone."""

from __future__ import annotations

import numpy as np
import pytest

from channel.blind import blind_snr_db
from channel.noise import Stream, unit_complex_gaussian
from channel.physics import normalize_power
from genjscc.limits import MAX_SNR_DB, MIN_SNR_DB


def codeword(k: int, seed: int) -> np.ndarray:
    z: np.ndarray = normalize_power(unit_complex_gaussian(seed, k, Stream.FADING)[None])[0]
    return z


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 10.0])
def test_error_is_that_of_the_formula(snr_db: float) -> None:
    k, sigma2 = 1024, 10 ** (-snr_db / 10)
    noises = [
        10 ** (-blind_snr_db(codeword(k, s) + sigma2**0.5 * unit_complex_gaussian(s, k)) / 10)
        for s in range(300)
    ]
    expected = np.sqrt((2 * sigma2 + sigma2**2) / k)
    assert np.mean(noises) == pytest.approx(sigma2, abs=4 * expected / np.sqrt(300))
    assert np.std(noises) == pytest.approx(expected, rel=0.2)


def test_known_gains_give_the_snr_after_equalisation() -> None:
    k = 100_000
    gains = np.where(np.arange(k) < k // 2, 1.0, 0.5j).astype(np.complex64)
    received = gains * codeword(k, 1) + 0.3 * unit_complex_gaussian(1, k)
    after = 10 * np.log10(1 / np.mean(0.09 / np.abs(gains) ** 2))
    assert blind_snr_db(received, gains) == pytest.approx(after, abs=0.4)
    assert blind_snr_db(received / gains) == pytest.approx(after, abs=0.4)


def test_estimates_stay_within_the_limits_of_an_snr() -> None:
    z = codeword(64, 1)
    assert blind_snr_db(z * np.float32(0.9)) == MAX_SNR_DB
    assert blind_snr_db(z * np.float32(1e4)) == MIN_SNR_DB
    assert blind_snr_db(z, np.full(64, 1e-30, np.complex64)) in (MIN_SNR_DB, MAX_SNR_DB)
