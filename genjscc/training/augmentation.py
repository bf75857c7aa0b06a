# SPDX-License-Identifier: Apache-2.0
"""Random framing of training images, so that one data set's framing is not all a network knows."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from genjscc.photos import square


class Augmentation(BaseModel):
    """How training squares are cut out of images; validation squares are always central."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cut: Literal["square", "window"] = Field(
        "square",
        description="square: the central square of an image, scaled to the training side; "
        "window: a square anywhere in the image, at the image's own resolution",
    )
    zoom: tuple[float, float] = Field(
        (1.0, 1.0), description="range of the scale, drawn for each image; below 1: reduced"
    )

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Self:
        low, high = self.zoom
        if not 0 < low <= high:
            raise ValueError(f"zoom: got {list(self.zoom)}; must be positive, the lower end first")
        if self.cut == "square" and self.zoom != (1.0, 1.0):
            raise ValueError(f"zoom: got {list(self.zoom)}; cut: square knows 1 alone")
        return self


def framed(
    rgb: NDArray[np.uint8], size: int, options: Augmentation, draws: np.random.Generator
) -> NDArray[np.uint8]:
    """Cut a training square out of an image.

    Args:
        rgb: uint8 [H, W, 3].
        size: side of the square in pixels.
        options: how.
        draws: randomness.

    Returns:
        uint8 [size, size, 3].
    """
    if options.cut == "square":
        return square(rgb, size)
    height, width, _ = rgb.shape
    low, high = options.zoom
    side = min(size / draws.uniform(low, high), height, width)
    left, top = draws.uniform(0, width - side), draws.uniform(0, height - side)
    if side == size:  # at the image's own resolution pixels are taken as they are
        x, y = round(left), round(top)
        return rgb[y : y + size, x : x + size]
    box = (left, top, left + side, top + side)
    window = Image.fromarray(rgb).resize((size, size), Image.Resampling.LANCZOS, box)
    return np.array(window)


def central(rgb: NDArray[np.uint8], size: int, options: Augmentation) -> NDArray[np.uint8]:
    """Cut the square out of an image that validation uses: the same cut without randomness."""
    height, width, _ = rgb.shape
    if options.cut == "square" or min(height, width) < size:
        return square(rgb, size)
    top, left = (height - size) // 2, (width - size) // 2
    return rgb[top : top + size, left : left + size]
