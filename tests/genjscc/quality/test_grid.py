# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from genjscc.quality.grid import PERIODS, grid_share


def noise(seed: int = 0, size: tuple[int, int] = (96, 80)) -> Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(seed))


def dots(period: int) -> Tensor:
    """A bright pixel in each square of `period` pixels."""
    pattern = torch.zeros(1, 3, 96, 80)
    pattern[..., ::period, ::period] = 1
    return pattern.expand(2, -1, -1, -1)


@pytest.mark.parametrize("period", PERIODS)
def test_dots_are_all_grid_and_noise_is_none(period: int) -> None:
    reference = noise(1) * 0.5
    np.testing.assert_allclose(
        grid_share(reference, reference + 0.1 * dots(period), period), 1, atol=0.05
    )
    clean = grid_share(reference, reference + 0.1 * noise(2), period)
    assert clean.abs().max() < 0.02


def test_a_mixture_has_the_share_of_its_variance() -> None:
    reference = noise(1)
    grid, random = dots(8) - dots(8).mean(), noise(3) - 0.5
    random *= (grid.var() / random.var()).sqrt()
    share = grid_share(reference, reference + grid + random, 8)
    # The high pass keeps a little less of white noise than of single dots.
    np.testing.assert_allclose(share, 0.5, atol=0.06)


def test_equal_images_have_no_grid() -> None:
    assert grid_share(noise(1), noise(1), 8).tolist() == [0, 0]


def test_images_are_measured_one_by_one() -> None:
    reference, image = (
        noise(1),
        noise(1) + 0.1 * dots(4) * torch.tensor([1.0, 0])[:, None, None, None],
    )
    together = grid_share(reference, image, 4)
    alone = torch.cat([grid_share(reference[i : i + 1], image[i : i + 1], 4) for i in range(2)])
    torch.testing.assert_close(together, alone)


def test_an_image_below_the_period_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got 16; .* 80x8 pixels"):
        grid_share(noise()[:, :, :8], noise()[:, :, :8], 16)
