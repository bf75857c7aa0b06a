# SPDX-License-Identifier: Apache-2.0
"""The channel's equations: power, noise, fading, and the 3 dB that everybody gets wrong."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from channel.noise import Stream, unit_complex_gaussian, unit_noise_rows
from channel.physics import (
    awgn,
    measured_power,
    measured_snr_db,
    noise_power,
    normalize_power,
    rician_gains,
    spread_gains,
    zero_force,
)
from genjscc.errors import InvalidInputError

N = 1_000_000
SNRS_DB = [-20.0, -5.0, 0.0, 7.5, 20.0, 40.0]

complex_rows = hnp.arrays(
    np.complex64,
    st.tuples(st.integers(1, 4), st.integers(1, 40)),
    elements=st.complex_numbers(max_magnitude=2.0**100, allow_subnormal=True, width=64),
).filter(lambda z: bool((np.abs(z).max(axis=1) > 0).all()))


def mean_power(z: Any) -> NDArray[np.float64]:
    return np.mean(np.abs(np.asarray(z).astype(np.complex128)) ** 2, axis=-1)


@given(complex_rows, st.sampled_from([0.5, 1.0, 3.0]))
def test_power_is_exact_for_each_image(z: NDArray[np.complex64], power: float) -> None:
    np.testing.assert_allclose(mean_power(normalize_power(z, power)), power, rtol=1e-6)


# 1e-45 is the smallest float32 there is, 3.4e38 nearly the largest.
@pytest.mark.parametrize("scale", [1e-45, 1e-40, 1e-30, 1e-10, 1.0, 1e10, 1e30, 3.4e38])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_power_is_exact_at_every_float32_scale(scale: float, library: str) -> None:
    z = np.array([[1 + 1j, 1 - 1j, -1 + 0.5j, 1j]]) * scale
    z = z.astype(np.complex64)
    given_ = z if library == "numpy" else torch.from_numpy(z)
    out = np.asarray(normalize_power(given_))
    np.testing.assert_allclose(mean_power(out), 1.0, rtol=1e-6)
    wide = z.astype(np.complex128)
    np.testing.assert_allclose(out, wide / np.sqrt(mean_power(wide))[:, None], rtol=1e-5)


@given(complex_rows)
def test_normalising_twice_changes_nothing(z: NDArray[np.complex64]) -> None:
    once = normalize_power(z)
    np.testing.assert_allclose(normalize_power(once), once, rtol=3e-7, atol=1e-37)


@given(complex_rows)
def test_normalising_does_not_look_at_neighbours(z: NDArray[np.complex64]) -> None:
    together = normalize_power(z)
    for row, expected in zip(z, together, strict=True):
        np.testing.assert_array_equal(normalize_power(row[None])[0], expected)


def test_power_of_a_long_codeword_keeps_six_digits() -> None:
    z = unit_complex_gaussian(3, 2**20)[None] * np.float32(1e-3)
    np.testing.assert_allclose(mean_power(normalize_power(z)), 1.0, rtol=1e-6)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_zero_codeword_is_an_error_not_a_nan(library: str) -> None:
    z = np.ones((3, 4), np.complex64)
    z[1] = 0
    with pytest.raises(InvalidInputError, match="all zero"):
        normalize_power(z if library == "numpy" else torch.from_numpy(z))


@pytest.mark.parametrize("snr_db", SNRS_DB)
def test_noise_variance_is_half_of_sigma2_per_real_dimension(snr_db: float) -> None:
    z = np.ones((1, N), np.complex64)
    unit = unit_noise_rows([11], N)
    n = (awgn(z.astype(np.complex128), np.array([snr_db]), unit) - z)[0]
    expected = 10 ** (-snr_db / 10) / 2
    # The variance of a variance estimate of Gaussians is 2 sigma^4/n.
    band = 5 * expected * math.sqrt(2 / N)
    assert abs(n.real.var() - expected) < band
    assert abs(n.imag.var() - expected) < band


@pytest.mark.parametrize("snr_db", SNRS_DB)
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_measured_snr_is_the_snr_asked_for(snr_db: float, dtype: type) -> None:
    z = normalize_power(unit_noise_rows([5], N)).astype(dtype)
    received = awgn(z, np.array([snr_db]), unit_noise_rows([12], N))
    # Energies of n complex Gaussians scatter by 1/sqrt(n): 5 sigma, and as much for z.
    band = 10 * math.log10(1 + 10 / math.sqrt(N))
    assert abs(float(measured_snr_db(z, received)[0]) - snr_db) < band


@given(st.floats(-20, 40), st.sampled_from([0.25, 1.0, 4.0]))
def test_noise_power_is_equation_5(snr_db: float, power: float) -> None:
    sigma2 = noise_power(np.array([snr_db]), power)[0]
    assert 10 * math.log10(power / sigma2) == pytest.approx(snr_db, abs=1e-9)


def test_every_image_of_a_batch_has_its_own_snr() -> None:
    snr_db = np.array([-20.0, 0.0, 40.0])
    z = np.ones((3, 20_000), np.complex64)
    received = awgn(z, snr_db, unit_noise_rows([1, 2, 3], 20_000))
    np.testing.assert_allclose(measured_snr_db(z, received), snr_db, atol=0.2)


def test_measured_values_against_a_hand_count() -> None:
    signal = np.array([[3 + 4j, 0, 0, 0]], np.complex64)
    received = signal + np.array([[0, 0.5, 0, 0]], np.complex64)
    assert measured_power(signal)[0] == pytest.approx(25 / 4)
    assert measured_snr_db(signal, received)[0] == pytest.approx(20.0)  # 25/0.25
    assert measured_snr_db(signal, signal)[0] == math.inf


def q_function(x: float) -> float:
    return 0.5 * math.erfc(x / math.sqrt(2))


def qpsk(count: int, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.complex64]]:
    bits = np.random.default_rng(seed).integers(0, 2, (count, 2)).astype(bool)
    signs = 1 - 2 * bits.astype(np.float32)
    return bits, ((signs[:, 0] + 1j * signs[:, 1]) / np.sqrt(2)).astype(np.complex64)


def bit_errors(bits: NDArray[np.bool_], received: NDArray[np.complex64]) -> float:
    decided = np.stack([received.real < 0, received.imag < 0], axis=-1)
    return float((decided != bits).mean())


# A receiver that is 3 dB off would be outside the band by hundreds of sigmas.
@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 4.0, 8.0])
def test_qpsk_over_awgn_errs_as_theory_says(snr_db: float) -> None:
    bits, z = qpsk(N, 1)
    received = awgn(normalize_power(z[None]), np.array([snr_db]), unit_noise_rows([7], N))[0]
    expected = q_function(math.sqrt(10 ** (snr_db / 10)))
    band = 5 * math.sqrt(expected * (1 - expected) / (2 * N))
    assert abs(bit_errors(bits, received) - expected) < band


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_qpsk_over_rayleigh_with_zero_forcing_errs_as_theory_says(snr_db: float) -> None:
    bits, z = qpsk(N, 2)
    gains = rician_gains(unit_noise_rows([8], N, Stream.FADING), 0.0)
    signal = z[None] * gains
    noisy = awgn(signal, np.array([snr_db]), unit_noise_rows([8], N))
    per_bit = 10 ** (snr_db / 10) / 2
    expected = 0.5 * (1 - math.sqrt(per_bit / (1 + per_bit)))
    # The two bits of a symbol share a gain, so at worst only N of them are independent.
    band = 5 * math.sqrt(expected * (1 - expected) / N)
    assert abs(bit_errors(bits, zero_force(noisy, gains)[0]) - expected) < band


@pytest.mark.parametrize("k_factor", [0.0, 1.0, 10.0])
def test_gains_have_unit_power_and_the_right_line_of_sight(k_factor: float) -> None:
    h = rician_gains(unit_complex_gaussian(9, N, Stream.FADING), k_factor).astype(np.complex128)
    assert abs(mean_power(h) - 1) < 5 * math.sqrt(1 / N) * math.sqrt(2)
    line_of_sight = math.sqrt(k_factor / (k_factor + 1))
    assert abs(h.mean() - line_of_sight) < 5 / math.sqrt(N)
    assert abs(h.var() - 1 / (k_factor + 1)) < 5 / math.sqrt(N)


def test_average_snr_under_fading_is_the_snr_asked_for() -> None:
    z = np.ones((1, N), np.complex64)
    signal = z * rician_gains(unit_noise_rows([4], N, Stream.FADING), 0.0)
    received = awgn(signal, np.array([3.0]), unit_noise_rows([4], N))
    assert float(measured_snr_db(signal, received)[0]) == pytest.approx(3.0, abs=0.04)


@given(st.integers(1, 30), st.integers(1, 35))
def test_a_block_shares_its_gain(k: int, block_length: int) -> None:
    blocks = -(-k // block_length)
    gains = np.arange(1, blocks + 1, dtype=np.complex64)[None]
    spread = spread_gains(gains, k, block_length)
    assert spread.shape == (1, k)
    np.testing.assert_array_equal(spread[0].real, 1 + np.arange(k) // block_length)


def test_zero_forcing_undoes_fading_and_refuses_a_dead_channel() -> None:
    z, gains = unit_noise_rows([1], 50), unit_noise_rows([2], 50, Stream.FADING)
    np.testing.assert_allclose(zero_force(z * gains, gains), z, rtol=1e-5)
    gains[0, 3] = 0
    with pytest.raises(InvalidInputError, match="gains"):
        zero_force(z, gains)


def pipeline(z_tilde: Any, snr_db: Any, noise: Any, fading: Any) -> Any:
    gains = spread_gains(rician_gains(fading, 2.0), z_tilde.shape[1], 4)
    return zero_force(awgn(normalize_power(z_tilde) * gains, snr_db, noise), gains)


def test_numpy_and_torch_compute_the_same() -> None:
    z, snr_db = unit_noise_rows([1, 2], 30) * np.float32(0.01), np.array([-5.0, 12.0])
    noise, fading = unit_noise_rows([1, 2], 30), unit_noise_rows([1, 2], 8, Stream.FADING)
    plain = pipeline(z, snr_db, noise, fading)
    tensors = [torch.from_numpy(a) for a in (z, snr_db, noise, fading)]
    differentiable = pipeline(*tensors)
    assert plain.dtype == np.complex64
    assert differentiable.dtype == torch.complex64
    np.testing.assert_allclose(differentiable.numpy(), plain, rtol=2e-6, atol=1e-7)


def test_gradients_agree_with_finite_differences() -> None:
    noise = torch.from_numpy(unit_noise_rows([3, 4], 6)).to(torch.complex128)
    fading = torch.from_numpy(unit_noise_rows([3, 4], 2, Stream.FADING)).to(torch.complex128)
    snr_db = torch.tensor([-3.0, 9.0], dtype=torch.float64)
    z = torch.from_numpy(unit_noise_rows([5, 6], 6)).to(torch.complex128).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: pipeline(x, snr_db, noise, fading), (z,))


def test_float32_gradients_are_finite_at_small_scale() -> None:
    z = (torch.from_numpy(unit_noise_rows([5], 64)) * 1e-12).requires_grad_()
    normalize_power(z).abs().sum().backward()
    assert z.grad is not None
    assert bool(torch.isfinite(torch.view_as_real(z.grad)).all())
    assert bool((z.grad != 0).any())
