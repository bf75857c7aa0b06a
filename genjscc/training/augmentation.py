# SPDX-License-Identifier: Apache-2.0
"""Random framing and lighting of training images, for a variety that data sets lack."""

from __future__ import annotations

import math
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch.nn import functional as F

from genjscc.photos import square


class Augmentation(BaseModel):
    """Random cuts of training squares; validation squares are always central."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cut: Literal["square", "window"] = Field(
        "square",
        description="square: the central square of an image, scaled to the training side; "
        "window: a square anywhere in the image, at the image's own resolution",
    )
    zoom: tuple[float, float] = Field(
        (1.0, 1.0), description="range of the scale, drawn for each image; below 1: reduced"
    )
    shift: float = Field(
        0.0, ge=0, le=0.5, description="square only: largest shift each way, as a part of the side"
    )
    rotation_deg: float = Field(
        0.0, ge=0, le=180, description="square only: largest rotation each way, in degrees"
    )
    light: float = Field(
        0.0, ge=0, lt=1, description="largest relative change of brightness and of contrast"
    )
    colour: float = Field(
        0.0, ge=0, lt=1, description="largest relative change of each colour channel's gain"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        low, high = self.zoom
        if not 0 < low <= high:
            raise ValueError(f"zoom: got {list(self.zoom)}; must be positive, the lower end first")
        for name in ("shift", "rotation_deg"):
            if self.cut == "window" and getattr(self, name):
                raise ValueError(f"{name}: got {getattr(self, name)}; must be 0 for cut: window")
        return self


def augmented(
    rgb: NDArray[np.uint8], size: int, options: Augmentation, draws: np.random.Generator
) -> NDArray[np.uint8]:
    """Cut a training square out of an image at random, and change its light.

    Args:
        rgb: uint8 [H, W, 3].
        size: side of the square in pixels.
        options: ranges of the changes.
        draws: randomness.

    Returns:
        uint8 [size, size, 3].
    """
    cut = _window if options.cut == "window" else _moved_square
    return _relit(cut(rgb, size, options, draws), options, draws)


def central(rgb: NDArray[np.uint8], size: int, options: Augmentation) -> NDArray[np.uint8]:
    """Cut the central square of an image, for validation."""
    height, width, _ = rgb.shape
    if options.cut == "square" or min(height, width) < size:
        return square(rgb, size)
    top, left = (height - size) // 2, (width - size) // 2
    return rgb[top : top + size, left : left + size]


def _window(
    rgb: NDArray[np.uint8], size: int, options: Augmentation, draws: np.random.Generator
) -> NDArray[np.uint8]:
    height, width, _ = rgb.shape
    side = min(size / draws.uniform(*options.zoom), height, width)
    left, top = draws.uniform(0, width - side), draws.uniform(0, height - side)
    if side == size:  # at the image's own resolution pixels are taken as they are
        x, y = round(left), round(top)
        return rgb[y : y + size, x : x + size]
    box = (left, top, left + side, top + side)
    return np.array(Image.fromarray(rgb).resize((size, size), Image.Resampling.LANCZOS, box))


def _moved_square(
    rgb: NDArray[np.uint8], size: int, options: Augmentation, draws: np.random.Generator
) -> NDArray[np.uint8]:
    """Zoom, shift and rotate the central square; beyond its edges it is mirrored."""
    whole = square(rgb, size)
    if options.zoom == (1.0, 1.0) and not options.shift and not options.rotation_deg:
        return whole
    zoom = draws.uniform(*options.zoom)
    right, down = draws.uniform(-2 * options.shift, 2 * options.shift, 2)  # the side is 2 long
    angle = math.radians(draws.uniform(-options.rotation_deg, options.rotation_deg))
    cosine, sine = math.cos(angle) / zoom, math.sin(angle) / zoom
    matrix = torch.tensor([[cosine, -sine, right], [sine, cosine, down]], dtype=torch.float32)
    image = torch.tensor(whole).permute(2, 0, 1)[None].float()
    grid = F.affine_grid(matrix[None], [1, 3, size, size], align_corners=False)
    moved = F.grid_sample(
        image, grid, mode="bicubic", padding_mode="reflection", align_corners=False
    )
    return moved[0].permute(1, 2, 0).clamp(0, 255).round().byte().numpy()


def _relit(
    rgb: NDArray[np.uint8], options: Augmentation, draws: np.random.Generator
) -> NDArray[np.uint8]:
    """Change brightness, contrast and colour balance."""
    if not options.light and not options.colour:
        return rgb
    brightness, contrast = 1 + options.light * draws.uniform(-1, 1, 2)
    gains = 1 + options.colour * draws.uniform(-1, 1, 3)
    pixels = rgb.astype(np.float32)
    mean = pixels.mean()
    changed = (mean + contrast * (pixels - mean)) * (brightness * gains).astype(np.float32)
    lit: NDArray[np.uint8] = changed.round().clip(0, 255).astype(np.uint8)
    return lit
