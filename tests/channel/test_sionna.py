# SPDX-License-Identifier: Apache-2.0
"""The same channels by another implementation: Sionna's delay profiles and OFDM channel."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sionna.phy", reason="the extra [ldpc] is not installed")

import torch
from sionna.phy import config
from sionna.phy.channel import cir_to_ofdm_channel
from sionna.phy.channel.tr38901 import TDL

from channel.noise import unit_noise_rows
from channel.ofdm import checked_radio
from channel.radio import draw, transmit
from channel.tdl import PROFILES
from genjscc.wire.ofdm import Ofdm

ROWS, K, SNR_DB = 1500, 256, 7.0


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_are_the_same(name: str) -> None:
    theirs = TDL(name[-1].upper(), 1e-6, 3.5e9)
    np.testing.assert_allclose(theirs.delays * 1e6, PROFILES[name].delays, rtol=1e-5)
    np.testing.assert_allclose(theirs.mean_powers, PROFILES[name].total_powers, rtol=1e-5)


def rates(received: np.ndarray, signs: np.ndarray) -> np.ndarray:
    errors: np.ndarray = (np.sign(received.view(np.float32)) != signs).mean(1)
    return errors


@pytest.mark.parametrize("name", ["tdl-a", "tdl-d", "tdl-e"])
def test_uncoded_qpsk_has_the_same_error_rate(name: str) -> None:
    options = Ofdm(
        name,  # type: ignore[arg-type]
        delay_spread_ns=100,
        speed_mps=30.0,
        pilots="none",
        estimation="perfect",
        equalization="zero_forcing",
    )
    radio = checked_radio(options, K)
    signs = np.sign(unit_noise_rows(range(ROWS), K).view(np.float32))
    z = (signs / np.float32(np.sqrt(2))).view(np.complex64)
    seeds = range(ROWS, 2 * ROWS)
    ours = rates(transmit(z, np.full(ROWS, SNR_DB), draw(radio, K, seeds), radio).symbols, signs)
    config.seed = 1
    symbols = K // radio.used
    model = TDL(name[-1].upper(), 100e-9, 3.5e9, min_speed=30.0)
    gains, delays = model(ROWS, symbols, 1.0 / radio.symbol_s)
    frequencies = torch.from_numpy(radio.frequencies_hz.astype(np.float32))
    response = cir_to_ofdm_channel(frequencies, gains, delays).squeeze().reshape(ROWS, K).numpy()
    noise = unit_noise_rows(range(ROWS), K) * np.float32(10 ** (-SNR_DB / 20))
    theirs = rates((response * z + noise) / response, signs)
    deviation = np.sqrt((ours.var() + theirs.var()) / ROWS)
    assert ours.mean() == pytest.approx(theirs.mean(), abs=3 * deviation)
