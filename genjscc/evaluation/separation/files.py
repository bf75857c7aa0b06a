# SPDX-License-Identifier: Apache-2.0
"""Search for an image's best file within a byte budget, over quality and down-scaling."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from genjscc.evaluation.separation.codecs import Codec, Rgb
from genjscc.quality.psnr import psnr_db

_SMALLEST_SIDE = 4
_EQUAL_DB = 100.0


@dataclass(frozen=True, eq=False)
class File:
    """One encoding of an image.

    Attributes:
        data: the file.
        payload: number of bytes that are not header.
        psnr_db: PSNR of the restored image against the original; 100 if they are equal.
        scale: side of the encoded picture over side of the image.
    """

    data: bytes
    payload: int
    psnr_db: float
    scale: float

    def size(self, *, headers: bool) -> int:
        """Return the number of bytes to send."""
        return len(self.data) if headers else self.payload


class Files:
    """The files of one image by one codec, each encoded on demand and at most once.

    Args:
        codec: the codec.
        image: uint8 [H, W, 3].
    """

    def __init__(self, codec: Codec, image: Rgb) -> None:
        self._codec, self._image = codec, image
        self._sizes = scaled_sizes(*image.shape[:2])
        self._small: dict[int, Rgb] = {}
        self._written: dict[tuple[int, int], tuple[bytes, int]] = {}
        self._files: dict[tuple[int, int], File] = {}
        self._found: dict[tuple[int, bool], File | None] = {}

    def best(self, budget: int, *, headers: bool) -> File | None:
        """Return the file of the highest PSNR within the budget, or None for an outage.

        At each scale the quality is found by bisection, assuming that sizes rise with it; if they
        do not, a better file may be missed, but the budget is always met.

        Args:
            budget: budget in bytes.
            headers: whether headers count against the budget.
        """
        key = (budget, headers)
        if key not in self._found:
            self._found[key] = self._search(budget, headers)
        return self._found[key]

    def _search(self, budget: int, headers: bool) -> File | None:
        best: File | None = None
        for scale in range(len(self._sizes)):
            rank = self._highest_level(scale, budget, headers)
            if rank is None:
                continue
            file = self._file(scale, rank)
            if best is None or file.psnr_db > best.psnr_db:
                best = file
            if rank == len(self._codec.levels) - 1:
                break  # the highest quality fits, so a smaller picture cannot be better
        return best

    def _highest_level(self, scale: int, budget: int, headers: bool) -> int | None:
        """Find the index of the highest quality that fits, or None."""

        def fits(rank: int) -> bool:
            data, payload = self._write(scale, rank)
            return (len(data) if headers else payload) <= budget

        return last_true(fits, len(self._codec.levels))

    def _write(self, scale: int, rank: int) -> tuple[bytes, int]:
        key = (scale, rank)
        if key not in self._written:
            if scale not in self._small:
                self._small[scale] = resized(
                    self._image, self._sizes[scale], Image.Resampling.LANCZOS
                )
            data = self._codec.encode(self._small[scale], self._codec.levels[rank])
            self._written[key] = (data, self._codec.payload(data))
        return self._written[key]

    def _file(self, scale: int, rank: int) -> File:
        key = (scale, rank)
        if key not in self._files:
            data, payload = self._write(scale, rank)
            image = restore(self._codec, data, *self._image.shape[:2])
            quality = min(_EQUAL_DB, psnr_db(self._image, image))
            factor = self._sizes[scale][0] / self._image.shape[0]
            self._files[key] = File(data, payload, quality, factor)
        return self._files[key]


def last_true(predicate: Callable[[int], bool], count: int) -> int | None:
    """Bisect for the last of 0..count-1 at which a falling predicate is true, or None."""
    low, high = -1, count - 1
    while low < high:
        middle = (low + high + 1) // 2
        if predicate(middle):
            low = middle
        else:
            high = middle - 1
    return low if low >= 0 else None


def scaled_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """List sizes (height, width) in steps of 1/sqrt(2), from the image's to sides of 4 pixels."""
    sizes = [(height, width)]
    factor = math.sqrt(0.5)
    while round(min(height, width) * factor) >= _SMALLEST_SIDE:
        sizes.append((round(height * factor), round(width * factor)))
        factor *= math.sqrt(0.5)
    return sizes


def restore(codec: Codec, data: bytes, height: int, width: int) -> Rgb:
    """Decode a file and resize it to the image's size, which the receiver knows."""
    return resized(codec.decode(data), (height, width), Image.Resampling.BICUBIC)


def resized(pixels: Rgb, size: tuple[int, int], how: Image.Resampling) -> Rgb:
    """Resize pixels to (height, width)."""
    if pixels.shape[:2] == size:
        return pixels
    return np.array(Image.fromarray(pixels).resize((size[1], size[0]), how))
