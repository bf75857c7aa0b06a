# SPDX-License-Identifier: Apache-2.0
"""Upper limits on untrusted input, the same locally and remotely."""

from __future__ import annotations

from dataclasses import dataclass

MIN_SNR_DB, MAX_SNR_DB = -30.0, 60.0
"""An SNR outside is taken for a mistake (a linear value, a wrong sign, another unit)."""

MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Limits:
    """Limits of one request.

    Attributes:
        max_pixels: rows times columns of an image, padded; the default admits the photographs of
            phones (12 and 16 megapixels). Large images are computed in tiles: a network of
            width 64 takes about 0.1 kB of memory per pixel in float32.
        max_symbols: complex symbols of a codeword.
        max_encoded_bytes: of an image file.
        max_side: rows, or columns. One row of pixels is padded to sixteen.
    """

    max_pixels: int = 16 * 1024 * 1024
    max_symbols: int = 8 * 1024 * 1024
    max_encoded_bytes: int = 48 * 1024 * 1024
    max_side: int = 8192


PHOTO_LIMITS = Limits(
    max_pixels=64 * 1024 * 1024, max_encoded_bytes=256 * 1024 * 1024, max_side=65_535
)
"""Limits of pictures that a program opens itself to scale them down: a photo, not a bomb"""
