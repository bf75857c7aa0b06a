# SPDX-License-Identifier: Apache-2.0
"""Small folders of images for training tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_photos(folder: Path, count: int, size: tuple[int, int] = (40, 32)) -> None:
    """Write distinct smooth coloured pictures of a size (width, height)."""
    folder.mkdir(parents=True, exist_ok=True)
    width, height = size
    for i in range(count):
        rng = np.random.default_rng(i)
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        picture.save(folder / f"photo_{i:03d}.png")
