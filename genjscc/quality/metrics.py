# SPDX-License-Identifier: Apache-2.0
"""Quality metrics of received images, one value per image, named after their network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from genjscc.errors import InvalidInputError, needs
from genjscc.quality.grid import PERIODS, grid_share
from genjscc.quality.perceptual import PerceptualName, perceptual, trunk_is_cached

# The weights of Wang, Simoncelli and Bovik (2003) for five scales, finest first.
_MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SMALLEST_SIDE = 11
"""of an image, in pixels: the window of SSIM"""

PERCEPTUAL_FIELDS: dict[str, PerceptualName] = {
    "st_lpips_vgg": "st-lpips-vgg",
    "st_lpips_alex": "st-lpips-alex",
    "lpips_vgg": "lpips-vgg",
    "lpips_alex": "lpips-alex",
    "lpips_squeeze": "lpips-squeeze",
}
"""perceptual networks by record field"""


@dataclass(frozen=True)
class Metric:
    """A metric per image in two steps, so that each reference is processed only once.

    Images are [B, 3, H, W] in [0, 1], from 8 bit.
    """

    compare: Callable[[Any, Tensor], Tensor]
    """(prepared reference, image) -> [B]"""
    prepare: Callable[[Tensor], Any] = lambda reference: reference


def psnr(reference: Tensor, image: Tensor) -> Tensor:
    """Return 10 log10(1/MSE) in dB (eq. 17, on the [0, 1] scale); 100 for equal images."""
    mse = torch.mean((reference.double() - image.double()) ** 2, dim=(1, 2, 3))
    return -10 * torch.log10(mse.clamp(min=1e-10))


def grid_metrics(side: int) -> dict[str, Metric]:
    """Return the grid shares that images with that smaller side have room for, by record field."""
    return {
        f"grid_{period}": Metric(partial(grid_share, period=period))
        for period in PERIODS
        if period <= side
    }


def ms_ssim_scales(side: int) -> int:
    """Return M, the number of scales that fit an image with this smaller side; at most 5.

    Raises:
        InvalidInputError: not even one scale fits.
    """
    scales = 0
    while scales < len(_MS_SSIM_WEIGHTS) and (SMALLEST_SIDE - 1) * 2**scales < side:
        scales += 1
    if scales == 0:
        raise InvalidInputError(
            "images", f"got a side of {side} pixels; must be more than {SMALLEST_SIDE - 1} for SSIM"
        )
    return scales


def ms_ssim(reference: Tensor, image: Tensor) -> Tensor:
    """Return MS-SSIM (eq. 18-21) over M scales by image size, weights renormalised to sum 1."""
    with needs("train", "MS-SSIM"):
        from torchmetrics.functional.image import (
            multiscale_structural_similarity_index_measure as multiscale,
        )
    scales = ms_ssim_scales(min(reference.shape[-2:]))
    weights = _MS_SSIM_WEIGHTS[:scales]
    betas = tuple(weight / sum(weights) for weight in weights)
    values = multiscale(
        image, reference, data_range=1.0, betas=betas, reduction="none", normalize="relu"
    )
    if not isinstance(values, Tensor):
        raise TypeError("torchmetrics did not return one value per image")
    return values


def perceptual_metric(name: PerceptualName, device: torch.device | None = None) -> Metric:
    """Return a perceptual distance by name, in float32."""
    network = perceptual(name).to(device)

    @torch.inference_mode()
    def compare(reference: list[Tensor], image: Tensor) -> Tensor:
        return network.distance(network.features(image), reference)

    return Metric(compare, torch.inference_mode()(network.features))


def available_perceptual() -> dict[str, PerceptualName]:
    """Return the perceptual fields that can be measured without a download."""
    return {
        field: name
        for field, name in PERCEPTUAL_FIELDS.items()
        if name.startswith("st-") or trunk_is_cached(name)
    }
