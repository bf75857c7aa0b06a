# SPDX-License-Identifier: Apache-2.0
"""Estimation from pilots against its bounds and its own error variances."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from channel.estimation import (
    Estimate,
    at_pilots,
    drift_per_symbol,
    interpolation,
    least_squares,
    lmmse,
    noise_variance,
)
from channel.noise import Stream, unit_noise_rows
from channel.ofdm import Layout, Radio, checked_radio, layout_of, pilots_of
from channel.tdl import (
    frequency_response,
    num_draws,
    path_gains,
    steering_matrix,
    time_correlation,
)
from genjscc.wire.ofdm import Ofdm

ROWS, K = 200, 1024
STATIC = checked_radio(Ofdm(profile="tdl-a", delay_spread_ns=300), K)
MOVING = checked_radio(replace(STATIC, speed_mps=60.0), K)
BLOCK = checked_radio(replace(MOVING, pilots="block", pilot_spacing=4), K)
LINE_OF_SIGHT = checked_radio(Ofdm(profile="tdl-d", speed_mps=60.0), K)
KINDS = pytest.mark.parametrize(
    "radio", [STATIC, MOVING, BLOCK, LINE_OF_SIGHT], ids=["static", "moving", "block", "sight"]
)


def channel(radio: Radio, layout: Layout) -> Any:
    paths = radio.paths
    assert paths is not None
    draws = unit_noise_rows(range(ROWS), num_draws(paths), Stream.FADING)
    gains = path_gains(draws, layout.times_s, paths, radio.doppler_hz)
    response = frequency_response(gains, radio.delays_s, radio.frequencies_hz)
    return np.broadcast_to(response, (ROWS, layout.num_symbols, radio.used))


def observed(radio: Radio, sigma2: float) -> tuple[Layout, Any, Any]:
    """The layout, the true gains, and the raw estimates at the pilots."""
    layout = layout_of(radio, K)
    gains = channel(radio, layout)
    noise = unit_noise_rows(range(ROWS), layout.num_symbols * radio.used).reshape(gains.shape)
    sent = np.zeros((layout.num_symbols, radio.used), np.complex128)
    sent[np.ix_(layout.pilot_times, layout.pilot_carriers)] = layout.pilots
    received = gains * sent + np.sqrt(sigma2) * noise
    return layout, gains, at_pilots(pilots_of(received, layout), layout)


def mean_error(estimate: Estimate, gains: Any) -> float:
    return float((np.abs(estimate.gains - gains) ** 2).mean())


@KINDS
def test_least_squares_reaches_its_bound_at_the_pilots(radio: Radio) -> None:
    # Without knowledge of the channel, the Cramer-Rao bound at a pilot of power 1 is sigma^2.
    sigma2 = 0.1
    layout, gains, raw = observed(radio, sigma2)
    estimate = least_squares(raw, layout, radio, np.full(ROWS, sigma2))
    at = np.abs(pilots_of(estimate.gains - gains, layout)) ** 2
    assert at.mean() == pytest.approx(sigma2, rel=5 / np.sqrt(at.size))


@KINDS
@pytest.mark.parametrize("sigma2", [1.0, 0.1, 0.001])
def test_lmmse_errors_are_those_that_it_states(radio: Radio, sigma2: float) -> None:
    layout, gains, raw = observed(radio, sigma2)
    estimate = lmmse(raw, layout, radio, np.full(ROWS, sigma2))
    squares = (np.abs(estimate.gains - gains) ** 2).mean((1, 2))
    stated = float(estimate.error.mean())
    if radio is LINE_OF_SIGHT:  # its covariance is not a product
        assert stated < squares.mean() < 2 * stated
    else:
        spread = squares.std() / np.sqrt(ROWS)
        assert squares.mean() == pytest.approx(stated, abs=4 * spread)
    plain = least_squares(raw, layout, radio, np.full(ROWS, sigma2))
    assert squares.mean() < 0.7 * mean_error(plain, gains)


def test_lmmse_is_the_linear_estimate_of_least_error() -> None:
    """The filters by paths and eigenvectors give what the covariance matrices give."""
    radio, sigma2 = checked_radio(replace(MOVING, speed_mps=90.0), 64), 0.05
    layout = layout_of(radio, 64)
    lags = layout.times_s[:, None] - layout.times_s
    steering = steering_matrix(radio.delays_s, radio.frequencies_hz)
    assert radio.paths is not None
    over_frequency = steering.T @ np.diag(radio.paths.total_powers) @ steering.conj()
    over_time = time_correlation(lags, radio.paths, radio.doppler_hz)
    whole = np.kron(over_time, over_frequency)
    positions = np.arange(layout.num_symbols * radio.used).reshape(layout.num_symbols, -1)
    at = positions[np.ix_(layout.pilot_times, layout.pilot_carriers)].ravel()
    raw = unit_noise_rows([1], at.size).astype(np.complex128)
    inner = whole[np.ix_(at, at)] + sigma2 * np.eye(at.size)
    expected = whole[:, at] @ np.linalg.solve(inner, raw[0])
    shape = (1, layout.pilot_times.size, layout.pilot_carriers.size)
    estimate = lmmse(raw.reshape(shape), layout, radio, np.array([sigma2]))
    np.testing.assert_allclose(estimate.gains.ravel(), expected, atol=1e-9)
    explained = np.einsum("ij,ji->i", whole[:, at], np.linalg.solve(inner, whole[at]))
    np.testing.assert_allclose(estimate.error.ravel(), 1.0 - explained.real, atol=1e-9)


@KINDS
@pytest.mark.parametrize("sigma2", [3.0, 0.1, 0.001])
def test_noise_variance_is_estimated(radio: Radio, sigma2: float) -> None:
    layout, _, raw = observed(radio, sigma2)
    estimates_db = 10 * np.log10(noise_variance(raw, layout, radio) / sigma2)
    assert estimates_db.mean() == pytest.approx(0.0, abs=0.2)
    assert estimates_db.std() < 0.6


def test_long_codewords_are_filtered_in_windows() -> None:
    radio = checked_radio(MOVING, 47 * 74)
    layout = layout_of(radio, 47 * 74)
    assert layout.pilot_times.size == 74
    gains = channel(radio, layout)[:20]
    noise = unit_noise_rows(range(20), gains[0].size).reshape(gains.shape)
    raw = pilots_of(gains + 0.1 * noise, layout)
    estimate = lmmse(raw, layout, radio, np.full(20, 0.01))
    assert estimate.gains.shape == gains.shape
    squares = (np.abs(estimate.gains - gains) ** 2).mean((1, 2))
    assert squares.mean() == pytest.approx(float(estimate.error.mean()), rel=0.1)


def test_interpolation_is_exact_for_lines() -> None:
    known = np.array([0, 4, 8, 9])
    line = 2.0 * np.arange(10) - 1.0
    np.testing.assert_allclose(interpolation(known, 10) @ line[known], line)


def test_drift_is_that_of_an_offset() -> None:
    radio = checked_radio(replace(BLOCK, speed_mps=0.0), K)
    layout, _, raw = observed(radio, 0.01)
    turned = raw * np.exp(0.2j * layout.pilot_times)[None, :, None]
    np.testing.assert_allclose(drift_per_symbol(turned, layout), 0.2, atol=0.01)
