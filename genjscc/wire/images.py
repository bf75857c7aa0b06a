# SPDX-License-Identifier: Apache-2.0
"""8-bit RGB arrays <-> `Image`. Limits guard the decoding: a small file can hold a huge image."""

from __future__ import annotations

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from genjscc.errors import InvalidInputError, UnsupportedError
from genjscc.limits import Limits
from genjscc.v1 import tensor_pb2

FORMATS = ("PNG", "JPEG", "WEBP")
# A progressive JPEG of ordinary programs has about ten.
_MOST_SCANS, _START_OF_SCAN = 100, b"\xff\xda"
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error)


def rgb_to_message(
    rgb: NDArray[np.uint8], format_: tensor_pb2.ImageFormat.ValueType = tensor_pb2.IMAGE_FORMAT_RAW
) -> tensor_pb2.Image:
    """[H, W, 3] uint8 as plain pixels or as a PNG file.

    Raises:
        UnsupportedError: a format that this version does not write.
    """
    if format_ == tensor_pb2.IMAGE_FORMAT_RAW:
        height, width, _ = rgb.shape
        raw = tensor_pb2.RawImage(height=height, width=width, rgb=rgb.tobytes())
        return tensor_pb2.Image(raw=raw)
    if format_ in (tensor_pb2.IMAGE_FORMAT_PNG, tensor_pb2.IMAGE_FORMAT_UNSPECIFIED):
        file = io.BytesIO()
        Image.fromarray(rgb).save(file, "PNG")
        return tensor_pb2.Image(encoded=file.getvalue())
    raise UnsupportedError(f"format: got {format_}; PNG and RAW are offered")


def rgb_from_message(
    message: tensor_pb2.Image, *, limits: Limits, field: str = "image"
) -> NDArray[np.uint8]:
    """[H, W, 3] uint8 of an image from anywhere.

    Raises:
        InvalidInputError: no image, not an image, damaged, or above the limits.
    """
    content = message.WhichOneof("content")
    if content == "raw":
        return _from_raw(message.raw, limits, field)
    if content == "encoded":
        return decode_file(message.encoded, limits=limits, field=f"{field}.encoded")
    raise InvalidInputError(field, "is missing; set `encoded` or `raw`")


def _check_size(height: int, width: int, limits: Limits, field: str) -> None:
    if height < 1 or width < 1:
        raise InvalidInputError(field, f"got {width}x{height} pixels; holds no pixel")
    if height * width > limits.max_pixels:
        raise InvalidInputError(
            field,
            f"got {width}x{height} = {height * width} pixels; at most {limits.max_pixels} "
            "are accepted, scale it down first",
        )
    if max(height, width) > limits.max_side:
        raise InvalidInputError(
            field,
            f"got {width}x{height} pixels; must be at most {limits.max_side} each way",
        )


def _check_scans(data: bytes, format_: str | None, field: str) -> None:
    # Each scan of a progressive JPEG passes over all pixels, whatever it adds to them. Within
    # coded data no marker occurs; in metadata there may be that of a thumbnail.
    scans = data.count(_START_OF_SCAN) if format_ == "JPEG" else 0
    if scans > _MOST_SCANS:
        raise InvalidInputError(
            field, f"got {scans} scans of a JPEG; must be at most {_MOST_SCANS}"
        )


def _from_raw(raw: tensor_pb2.RawImage, limits: Limits, field: str) -> NDArray[np.uint8]:
    _check_size(raw.height, raw.width, limits, f"{field}.raw")
    expected = raw.height * raw.width * 3
    if len(raw.rgb) != expected:
        raise InvalidInputError(
            f"{field}.raw.rgb",
            f"got {len(raw.rgb)} bytes; {raw.width}x{raw.height} RGB pixels are {expected}",
        )
    return np.frombuffer(raw.rgb, dtype=np.uint8).reshape(raw.height, raw.width, 3)


def rgb_from_pil(image: Image.Image) -> NDArray[np.uint8]:
    """[H, W, 3] uint8: upright as the EXIF data says, transparency laid on white."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        # Pillow would cut off what is above 255.
        grey = np.asarray(image).astype(np.uint32)
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        image = Image.alpha_composite(white, rgba)
    return np.array(image.convert("RGB"))


def decode_file(data: bytes, *, limits: Limits, field: str) -> NDArray[np.uint8]:
    """[H, W, 3] uint8 of a PNG, JPEG or WebP file, turned upright as its EXIF data says.

    The size is read from the header and checked before a pixel is decoded.

    Raises:
        InvalidInputError: not such a file, damaged, or above the limits.
    """
    if not data:
        raise InvalidInputError(field, "is empty; must be the bytes of a PNG, JPEG or WebP file")
    if len(data) > limits.max_encoded_bytes:
        raise InvalidInputError(
            field, f"got {len(data)} bytes; at most {limits.max_encoded_bytes} are accepted"
        )
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            _check_size(height, width, limits, field)
            _check_scans(data, image.format, field)
            return rgb_from_pil(image)
    except InvalidInputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # Pillow's own limits are above ours, but it looks first.
        raise InvalidInputError(
            field, f"holds too many pixels; at most {limits.max_pixels} are accepted"
        ) from error
    except UnidentifiedImageError as error:
        raise InvalidInputError(
            field, f"got {len(data)} bytes that are not a PNG, JPEG or WebP file"
        ) from error
    except _DECODE_ERRORS as error:
        raise InvalidInputError(field, f"the image file is damaged: {error}") from error
