# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from genjscc.quality.metrics import ms_ssim, ms_ssim_scales, psnr
from genjscc.quality.psnr import psnr_db


def picture(size: int, seed: int = 0) -> Tensor:
    """A smooth 8-bit image [1, 3, size, size] in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 6, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    return (fine.clamp(0, 1) * 255).round() / 255


def test_psnr_of_a_known_error_is_that_of_eq_17() -> None:
    x = torch.full((2, 3, 8, 8), 100 / 255)
    y = x.clone()
    y[0] += 5 / 255
    y[1] += 10 / 255
    expected = [20 * np.log10(255 / 5), 20 * np.log10(255 / 10)]
    np.testing.assert_allclose(psnr(x, y).numpy(), expected, rtol=1e-5)


def test_both_forms_of_psnr_agree_and_equal_images_are_finite_for_means() -> None:
    x, y = picture(32, 0), picture(32, 1)
    as_bytes = [(t[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy() for t in (x, y)]
    assert float(psnr(x, y)) == pytest.approx(psnr_db(*as_bytes), abs=1e-4)
    assert psnr_db(as_bytes[0], as_bytes[0]) == float("inf")
    assert float(psnr(x, x)) == pytest.approx(100)


@pytest.mark.parametrize(
    ("side", "scales"),
    [
        (11, 1),
        (20, 1),
        (21, 2),
        (40, 2),
        (41, 3),
        (64, 3),
        (80, 3),
        (81, 4),
        (160, 4),
        (161, 5),
        (512, 5),
    ],
)
def test_ms_ssim_uses_as_many_scales_as_fit(side: int, scales: int) -> None:
    assert ms_ssim_scales(side) == scales


def test_an_image_without_room_for_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="got a side of 10"):
        ms_ssim_scales(10)


@pytest.mark.parametrize("size", [64, 176])
def test_ms_ssim_is_one_for_equal_images_and_falls_with_noise(size: int) -> None:
    x = picture(size)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    levels = [float(ms_ssim(x, (x + s * noise).clamp(0, 1))) for s in (0.0, 0.05, 0.2)]
    assert levels[0] == pytest.approx(1, abs=1e-5)
    assert 1 > levels[1] > levels[2] > 0


def test_ms_ssim_does_not_see_a_batch() -> None:
    x, y = torch.cat([picture(64, 0), picture(64, 1)]), torch.cat([picture(64, 2), picture(64, 1)])
    together = ms_ssim(x, y)
    alone = torch.cat([ms_ssim(x[i : i + 1], y[i : i + 1]).reshape(1) for i in range(2)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
