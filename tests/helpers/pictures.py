# SPDX-License-Identifier: Apache-2.0
"""Valid and invalid pictures, generated on demand."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def gradient(height: int = 48, width: int = 40) -> NDArray[np.uint8]:
    """Return a picture that is smooth in both directions and differs by colour."""
    rows, columns = np.mgrid[0:height, 0:width]
    red = rows * 255 // max(1, height - 1)
    green = columns * 255 // max(1, width - 1)
    return np.stack([red, green, (red + green) // 2], axis=-1).astype(np.uint8)


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return an incompressible picture."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def file_of(picture: NDArray[np.uint8] | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return the bytes of an image file."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_bomb(height: int, width: int) -> bytes:
    """Return a PNG of a few hundred bytes whose header declares a huge image."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(100_000), 9)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", body), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
