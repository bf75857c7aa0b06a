# SPDX-License-Identifier: Apache-2.0
"""Delay profiles and fading against the tables' properties and theory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from channel.noise import Stream, unit_noise_rows
from channel.tdl import (
    PROFILES,
    Profile,
    bessel_j0,
    frequency_response,
    num_draws,
    path_gains,
    steering_matrix,
    time_correlation,
)

ROWS = 2000


def draws(profile: Profile, rows: int = ROWS) -> np.ndarray:
    return unit_noise_rows(range(rows), num_draws(profile), Stream.FADING)


@pytest.mark.parametrize("name", PROFILES)
def test_powers_sum_to_1_and_the_delay_spread_is_1(name: str) -> None:
    profile = PROFILES[name]
    powers, delays = profile.total_powers, np.array(profile.delays)
    assert powers.sum() == pytest.approx(1.0)
    spread = np.sqrt((powers * delays**2).sum() - (powers * delays).sum() ** 2)
    # The tables give delays with three or four digits, and D and E a K-factor in whole tenths.
    assert spread == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("doppler_hz", [0.0, 100.0])
def test_power_delay_profile(name: str, doppler_hz: float) -> None:
    profile = PROFILES[name]
    gains = path_gains(draws(profile), np.array([0.3]), profile, doppler_hz)
    measured = (np.abs(gains[:, :, 0]) ** 2).mean(0)
    # Five standard deviations of a mean of exponential variables; a line of sight varies less.
    np.testing.assert_allclose(measured, profile.total_powers, rtol=5 / np.sqrt(ROWS))


def test_gains_without_a_line_of_sight_are_gaussian() -> None:
    profile = PROFILES["tdl-a"]
    gains = path_gains(draws(profile), np.array([0.0, 0.01]), profile, 50.0)
    power = np.abs(gains / np.sqrt(np.array(profile.powers))[:, None]) ** 2
    # E|h|^4 = 2 for Rayleigh fading; a sum of 20 unit phasors would have 1.95.
    assert (power**2).mean() == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("name", ["tdl-a", "tdl-d"])
def test_doppler_correlation(name: str) -> None:
    profile, doppler_hz = PROFILES[name], 100.0
    times = np.linspace(0.0, 0.02, 11)
    gains = path_gains(draws(profile), times, profile, doppler_hz)
    response = frequency_response(gains, np.array(profile.delays) * 1e-7, np.array([2e5]))[:, :, 0]
    measured = (response * response[:, :1].conj()).mean(0)
    expected = time_correlation(times, profile, doppler_hz)
    np.testing.assert_allclose(measured, expected, atol=5 / np.sqrt(ROWS))
    if name == "tdl-a":
        assert expected[3] == pytest.approx(bessel_j0(np.array([2 * np.pi * 0.6]))[0])


def test_bessel_function() -> None:
    # Abramowitz and Stegun, table 9.1; the third is the first zero.
    x = np.array([0.0, 1.0, 2.404825557695773, 5.0, 100.0])
    values = [1.0, 0.7651976865579666, 0.0, -0.1775967713143383, 0.0199858503042231]
    np.testing.assert_allclose(bessel_j0(x), values, atol=1e-12)


def test_frequency_correlation() -> None:
    profile, frequencies = PROFILES["tdl-c"], np.arange(8) * 1e5
    delays = np.array(profile.delays) * 3e-7
    gains = path_gains(draws(profile), np.zeros(1), profile, 0.0)
    response = frequency_response(gains, delays, frequencies)[:, 0]
    measured = (response * response[:, :1].conj()).mean(0)
    expected = profile.total_powers @ steering_matrix(delays, frequencies)
    np.testing.assert_allclose(measured, expected, atol=5 / np.sqrt(ROWS))


def test_a_longer_time_axis_and_another_batch_change_no_gain() -> None:
    profile = PROFILES["tdl-e"]
    times = np.arange(5) * 1e-3
    many = path_gains(draws(profile, 7), times, profile, 80.0)
    one = path_gains(draws(profile, 7)[3:4], times[:2], profile, 80.0)
    np.testing.assert_array_equal(many[3:4, :, :2], one)


def test_libraries_agree() -> None:
    profile, times = PROFILES["tdl-d"], np.arange(3) * 1e-3
    here = path_gains(draws(profile, 4), times, profile, 80.0)
    there = path_gains(torch.from_numpy(draws(profile, 4)), times, profile, 80.0)
    np.testing.assert_allclose(there.numpy(), here, rtol=1e-9, atol=1e-12)
