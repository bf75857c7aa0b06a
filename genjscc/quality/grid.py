# SPDX-License-Identifier: Apache-2.0
"""Grid share: the part of a reconstruction's error that repeats with a fixed period in pixels.

Sub-pixel upsampling and perceptual losses can leave a dotted pattern that PSNR hardly shows and
people see at once, from a share of about 0.02 on. The error is high-passed (minus its 5x5 mean) and
averaged over all places with the same row and column modulo the period. The share is the variance
of this average, less what chance leaves in it, over the variance of the high-passed error.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

PERIODS = (2, 4, 8, 16)
_BOX = 5


def grid_share(reference: Tensor, image: Tensor, period: int) -> Tensor:
    """Measure how much of each image's error repeats with a period.

    Args:
        reference: [B, 3, H, W] in [0, 1].
        image: the same shape and range.
        period: in pixels, at most the smaller side.

    Returns:
        [B] float64: 1 for a pure grid; 0, or slightly below by chance, for none.

    Raises:
        ValueError: an image is smaller than the period.
    """
    return grid_shares(reference.double(), image.double(), (period,))[:, 0]


def grid_shares(reference: Tensor, image: Tensor, periods: Sequence[int] = PERIODS) -> Tensor:
    """Measure the grid share of each image for several periods, in the images' precision.

    Args:
        reference: [B, 3, H, W] in [0, 1].
        image: the same shape and range.
        periods: in pixels, each at most the smaller side.

    Returns:
        [B, periods], differentiable; see `grid_share`.

    Raises:
        ValueError: an image is smaller than a period.
    """
    error = _high_pass(image - reference)
    return torch.stack([_share(error, period) for period in periods], dim=1)


def _share(error: Tensor, period: int) -> Tensor:
    height, width = (side - side % period for side in error.shape[-2:])
    if not height or not width:
        raise ValueError(
            f"period: got {period}; must be at most the smaller side of "
            f"{error.shape[-1]}x{error.shape[-2]} pixels"
        )
    whole = error[..., :height, :width]
    rows, columns = height // period, width // period
    cells = whole.reshape(*whole.shape[:2], rows, period, columns, period)
    pattern = cells.mean((2, 4)).var((2, 3), correction=0).mean(1)
    variance = whole.var((2, 3), correction=0).mean(1)
    return (pattern - variance / (rows * columns)) / variance.clamp(min=1e-15)


def _high_pass(error: Tensor) -> Tensor:
    margin = _BOX // 2
    padded = F.pad(error, (margin, margin, margin, margin), mode="reflect")
    return error - F.avg_pool2d(padded, _BOX, stride=1)
