# SPDX-License-Identifier: Apache-2.0
"""Photographs in the form of the training images: square, upright, scaled."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from genjscc.errors import InvalidInputError
from genjscc.limits import PHOTO_LIMITS, Limits
from genjscc.wire.images import decode_file, size_of_file

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif"})
_LARGEST_SIDE = math.isqrt(Limits().max_pixels)
ACCEPTED_BY_ALL = 2 * 1024 * 1024
"""pixels that every service accepts by default, those included that do not name their limit"""
_SAMPLES = Path(str(resources.files("genjscc") / "samples"))
# Services pad images to multiples of this (`genjscc.pixels`, which needs torch).
_MULTIPLE = 16


def load_square(path: Path, size: int) -> NDArray[np.uint8]:
    """Read the central square of a photo, upright, scaled (Lanczos) to [size, size, 3] uint8.

    Raises:
        InvalidInputError: the file is missing, damaged or not an image.
    """
    return square(load_photo(path), size)


def load_photo(path: Path) -> NDArray[np.uint8]:
    """Read a photo, upright, as uint8 [H, W, 3]; files and limits as for a service, but larger.

    Raises:
        InvalidInputError: the file is missing, damaged or not an image.
    """
    return decode_file(read_file(path, field="photo"), limits=PHOTO_LIMITS, field=f"photo {path}")


def reduced_photo(path: Path, max_pixels: Callable[[], int]) -> NDArray[np.uint8] | None:
    """Return a photo scaled down (Lanczos) to what a service accepts; None if it is no larger.

    Args:
        path: file of the photo.
        max_pixels: returns the service's limit; not called for photos that every service accepts.

    Raises:
        InvalidInputError: the file is missing, damaged or not an image.
    """
    data, field = read_file(path, field="photo"), f"photo {path}"
    height, width = size_of_file(data, limits=PHOTO_LIMITS, field=field)
    most = ACCEPTED_BY_ALL
    if _fits((height, width), most) or _fits((height, width), most := max_pixels()):
        return None
    rgb = decode_file(data, limits=PHOTO_LIMITS, field=field)
    height, width = rgb.shape[:2]
    scale = min((most / (height * width)) ** 0.5, Limits().max_side / max(height, width))
    while not _fits(size := (int(height * scale) or 1, int(width * scale) or 1), most):
        scale *= 0.995  # padding to multiples of 16 adds pixels
    scaled = Image.fromarray(rgb).resize(size[::-1], Image.Resampling.LANCZOS)
    return np.array(scaled)


def _fits(size: tuple[int, int], max_pixels: int) -> bool:
    rows, columns = (-(-side // _MULTIPLE) * _MULTIPLE for side in size)
    return rows * columns <= max_pixels and max(size) <= Limits().max_side


def read_file(path: str | Path, *, field: str) -> bytes:
    """Read a picture file, up to the largest size that may be sent.

    Raises:
        InvalidInputError: it cannot be read, or is too long for a picture.
    """
    most = PHOTO_LIMITS.max_encoded_bytes
    try:
        with Path(path).open("rb") as file:
            data = file.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidInputError(field, f"cannot read {path}: {reason}") from error
    if len(data) > most:
        raise InvalidInputError(field, f"{path} has more than {most} bytes, which no photo has")
    return data


def square(rgb: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Cut the central square of uint8 [H, W, 3] and scale it (Lanczos) to [size, size, 3].

    Raises:
        InvalidInputError: a size of no pixel, or of more than a service takes.
    """
    if not 1 <= size <= _LARGEST_SIDE:
        raise InvalidInputError("size", f"got {size}; must be 1 to {_LARGEST_SIDE} pixels")
    if rgb.shape[:2] == (size, size):
        return rgb
    fitted = ImageOps.fit(Image.fromarray(rgb), (size, size), Image.Resampling.LANCZOS)
    return np.array(fitted)


def files_below(folder: Path) -> Iterator[Path]:
    """Return all files below a folder; linked folders are followed once."""
    seen = set()
    for where, folders, names in os.walk(folder, followlinks=True):
        own = Path(where).resolve()
        if own in seen:
            folders.clear()
            continue
        seen.add(own)
        yield from (Path(where, name) for name in names)


def pictures_below(folder: Path) -> list[Path]:
    """Return the pictures below a folder, sorted by name, without macOS's `._` files."""
    return sorted(
        path
        for path in files_below(folder)
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("._")
    )


def sample_photos() -> list[Path]:
    """The photographs of faces that ship with the package, squares."""
    return sorted(_SAMPLES.glob("*.png"))


def sample_scenes() -> list[Path]:
    """The photographs of anything else that ship with the package, squares."""
    return sorted(_SAMPLES.glob("*.webp"))
