# SPDX-License-Identifier: Apache-2.0
"""Photographs as the square pictures that the models were trained on."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from genjscc.errors import InvalidInputError
from genjscc.wire.images import rgb_from_pil


def load_square(path: Path, size: int) -> NDArray[np.uint8]:
    """The central square of a photo, upright, scaled (Lanczos) to [size, size, 3] uint8.

    Raises:
        InvalidInputError: the file is missing, damaged or not an image.
    """
    return square(load_photo(path), size)


def load_photo(path: Path) -> NDArray[np.uint8]:
    """Read a photo, upright, as uint8 [H, W, 3].

    Raises:
        InvalidInputError: the file is missing, damaged or not an image.
    """
    try:
        with Image.open(path) as image:
            return rgb_from_pil(image)
    except UnidentifiedImageError as error:
        raise InvalidInputError("photo", f"{path} is not an image") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidInputError("photo", f"cannot read {path}: {error}") from error


def square(rgb: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The central square of a picture uint8 [H, W, 3], scaled (Lanczos) to [size, size, 3]."""
    if rgb.shape[:2] == (size, size):
        return rgb
    fitted = ImageOps.fit(Image.fromarray(rgb), (size, size), Image.Resampling.LANCZOS)
    return np.array(fitted)


def sample_photos() -> list[Path]:
    """The photographs that ship with the package."""
    folder = Path(str(resources.files("genjscc") / "samples"))
    return sorted(folder.glob("*.png"))
