# SPDX-License-Identifier: Apache-2.0
"""Between 8-bit pictures and what the networks see."""

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
    """Height and width raised to multiples of 16."""
    height, width = size
    return -(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE


def checked_padded_size(
    size: tuple[int, int], *, max_pixels: int, field: str = "image"
) -> tuple[int, int]:
    """The padded size, within the limit: a row of 4 million pixels becomes sixteen.

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
    """[H, W, 3] uint8 -> [3, H', W'] uint8, its last row and column repeated to multiples of 16."""
    height, width, _ = rgb.shape
    rows, columns = padded_size((height, width))
    if (rows, columns) != (height, width):
        rgb = np.pad(rgb, ((0, rows - height), (0, columns - width), (0, 0)), mode="edge")
    return torch.from_numpy(rgb.transpose(2, 0, 1).copy())


def to_unit_range(pixels: Tensor) -> Tensor:
    """uint8 -> float32 in [0, 1]."""
    return pixels.float() / 255


def to_rgb(images: Tensor) -> NDArray[np.uint8]:
    """[..., 3, H, W] in [0, 1] -> [..., H, W, 3] uint8, rounded to nearest."""
    rounded = images.clamp(0, 1).mul_(255).round_().to(torch.uint8)
    return rounded.movedim(-3, -1).contiguous().cpu().numpy()
