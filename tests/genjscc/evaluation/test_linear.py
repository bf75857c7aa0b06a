# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genjscc.errors import InvalidInputError
from genjscc.evaluation.linear import (
    LinearCode,
    allocate_power,
    fit_linear,
    image_of,
    tiles_of,
    transmit_linear,
)


@given(
    st.lists(st.floats(1e-4, 10), min_size=1, max_size=12),
    st.floats(0.1, 100),
    st.floats(1e-3, 10),
)
def test_no_shift_of_power_lowers_the_error(
    values: list[float], total: float, noise: float
) -> None:
    variances = torch.tensor(sorted(values, reverse=True), dtype=torch.float64)
    powers = allocate_power(variances, total, noise)
    assert float(powers.sum()) == pytest.approx(total, rel=1e-6)
    assert bool((powers >= 0).all())

    def error(p: torch.Tensor) -> float:
        return float((variances * noise / (p + noise)).sum())

    best = error(powers)
    step = total * 1e-3
    for source in range(len(values)):
        for target in range(len(values)):
            shifted = powers.clone()
            moved = min(step, float(shifted[source]))
            shifted[source] -= moved
            shifted[target] += moved
            assert error(shifted) >= best - 1e-9


def gaussian_code(variances: torch.Tensor) -> LinearCode:
    size = len(variances)
    return LinearCode(torch.full((size,), 0.5), torch.eye(size), variances)


def test_the_error_is_the_one_that_theory_gives() -> None:
    variances = torch.tensor([4e-3, 2e-3, 1e-3, 1e-4])
    generator = torch.Generator().manual_seed(0)
    images = 0.5 + torch.randn(40_000, 4, generator=generator) * variances.sqrt()
    noise = torch.randn(40_000, 2, dtype=torch.complex64, generator=generator)
    snr_db, k = 3.0, 2
    received = transmit_linear(gaussian_code(variances), images, k, snr_db, noise)
    found = float(((received - images) ** 2).sum(1).mean())
    sigma = 10 ** (-snr_db / 10) / 2
    powers = allocate_power(variances, k, sigma)
    expected = float((variances * sigma / (powers + sigma)).sum())
    assert found == pytest.approx(expected, rel=0.03)


def test_components_are_those_of_the_covariance() -> None:
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(30, 30, generator=generator))[0]
    deviations = torch.linspace(3, 0.1, 30)
    images = torch.randn(4000, 30, generator=generator) * deviations @ basis.T
    code = fit_linear(images, 5)
    exact = torch.linalg.eigvalsh(torch.cov(images.T)).flip(0)[:5]
    torch.testing.assert_close(code.variances, exact, rtol=1e-2, atol=0)
    torch.testing.assert_close(code.components @ code.components.T, torch.eye(5), atol=1e-4, rtol=0)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="got 4 images of 30"):
        fit_linear(torch.rand(4, 30), 5)


def test_power_is_one_per_symbol_on_average() -> None:
    variances = torch.tensor([3.0, 1.0])
    sigma = 0.5
    powers = allocate_power(variances, 1.0, sigma)
    gains = (powers / variances).sqrt()
    sent = torch.randn(20_000, 2) * variances.sqrt() * gains
    assert float((sent**2).sum(1).mean()) == pytest.approx(1.0, rel=0.05)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5))
def test_an_image_is_its_squares(rows: int, columns: int, side: int) -> None:
    image = torch.rand(3, rows * side, columns * side)
    tiles = tiles_of(image, side)
    assert tiles.shape == (rows * columns, 3 * side * side)
    torch.testing.assert_close(tiles[-1].reshape(3, side, side), image[:, -side:, -side:])
    torch.testing.assert_close(image_of(tiles, (rows * side, columns * side), side), image)
