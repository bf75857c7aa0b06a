# SPDX-License-Identifier: Apache-2.0
"""Conversion between 8-bit pictures and the networks' tensors."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genjscc.errors import InvalidInputError
from genjscc.layers.bottleneck import STRIDE

# On a CPU, larger batches are no faster. 0.1 GB of memory for a network of width 64.
_CPU_PASS, _GPU_PASS = 512 * 512, 2048 * 2048


def padded_size(size: tuple[int, int]) -> tuple[int, int]:
    """Round height and width up to multiples of 16."""
    height, width = size
    return -(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE


def checked_padded_size(
    size: tuple[int, int], *, max_pixels: int, field: str = "image"
) -> tuple[int, int]:
    """Return the padded size and check it: a row of 4 million pixels would grow 16 times.

    Raises:
        InvalidInputError: it holds more than `max_pixels`.
    """
    rows, columns = padded_size(size)
    if rows * columns > max_pixels:
        raise InvalidInputError(
            field,
            f"got {size[1]}x{size[0]} pixels, {columns}x{rows} when padded to multiples of "
            f"{STRIDE}; at most {max_pixels} are accepted",
        )
    return rows, columns


def pixels_per_pass(max_pixels: int, device_type: str) -> int:
    """Return the number of pixels that go through a network at once; larger images go in tiles.

    It bounds memory, and the time for which a batch keeps a CPU from other requests.
    """
    return min(max_pixels, _CPU_PASS if device_type == "cpu" else _GPU_PASS)


def images_per_pass(padded: tuple[int, int], *, max_pixels: int) -> int:
    """Return the number of images of a size that go through a network at once: at least one."""
    return max(1, max_pixels // (padded[0] * padded[1]))


def to_padded_tensor(rgb: NDArray[np.uint8]) -> Tensor:
    """Pad [H, W, 3] uint8 to [3, H', W'] uint8: last row and column repeated to multiples of 16."""
    height, width, _ = rgb.shape
    rows, columns = padded_size((height, width))
    if (rows, columns) != (height, width):
        rgb = np.pad(rgb, ((0, rows - height), (0, columns - width), (0, 0)), mode="edge")
    return torch.from_numpy(rgb.transpose(2, 0, 1).copy())


def to_unit_range(pixels: Tensor) -> Tensor:
    """Convert uint8 to float32 in [0, 1]."""
    return pixels.float() / 255


def to_rgb(images: Tensor) -> NDArray[np.uint8]:
    """Convert [..., 3, H, W] in [0, 1] to [..., H, W, 3] uint8, rounded to nearest."""
    rounded = images.clamp(0, 1).mul_(255).round_().to(torch.uint8)
    return rounded.movedim(-3, -1).contiguous().cpu().numpy()
