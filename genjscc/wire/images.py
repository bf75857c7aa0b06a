# SPDX-License-Identifier: Apache-2.0
"""Conversion between 8-bit RGB arrays and `Image`, and the only decoder of image files.

Limits guard the decoding: a small file can hold a huge image. Pillow opens much more than these
formats, PostScript by way of Ghostscript among it, so nobody else here calls `Image.open` on what
is not their own.
"""

from __future__ import annotations

import importlib
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from genjscc.errors import InvalidInputError, UnsupportedError
from genjscc.limits import Limits
from genjscc.v1 import tensor_pb2

FORMATS = ("PNG", "JPEG", "WEBP")
_HEIF = "HEIF"
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Longer ones are no colour profiles: those of printers have one or two megabytes.
_MOST_PROFILE_BYTES = 4 * 1024 * 1024
# A profile that moves no colour further than this is sRGB by another name.
_SAME_LEVELS = 2
# Beginnings of what people send for a photo, for the error; HEIF's brands are apart.
_KINDS = {
    b"GIF8": "a GIF file",
    b"BM": "a BMP file",
    b"II*\0": "a TIFF file or a raw photo",
    b"MM\0*": "a TIFF file or a raw photo",
    b"%!PS": "a PostScript file",
    b"%PDF": "a PDF file",
    b"<svg": "an SVG file",
}
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})
# A progressive JPEG of ordinary programs has about ten.
_MOST_SCANS, _START_OF_SCAN = 100, b"\xff\xda"


def rgb_to_message(
    rgb: NDArray[np.uint8], format_: tensor_pb2.ImageFormat.ValueType = tensor_pb2.IMAGE_FORMAT_RAW
) -> tensor_pb2.Image:
    """Convert [H, W, 3] uint8 to a message with raw pixels or a PNG file.

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
    """Read an image of an untrusted message as [H, W, 3] uint8.

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
    """Convert a Pillow image to [H, W, 3] uint8: rotated by EXIF, sRGB, transparency on white.

    Raises:
        InvalidInputError: numbers that are no shades by themselves.
    """
    method = _UPRIGHT.get(_orientation(image))
    if method is not None:
        image = image.transpose(method)
    if image.mode.startswith("I;16"):
        # Pillow would cut off what is above 255.
        grey = np.asarray(image).astype(np.uint32)
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise InvalidInputError(
            "image",
            f"got mode {image.mode!r}, 32-bit numbers whose black and white are not known; must be "
            "8 or 16 bit: scale them, then image.convert('L') or image.convert('I;16')",
        )
    if image.has_transparency_data:
        rgba = _in_srgb(image.convert("RGBA"), image)
        white = Image.new("RGBA", rgba.size, "white")
        image = Image.alpha_composite(white, rgba)
    else:
        plain = image.convert("RGB") if image.mode == "P" else image
        image = _in_srgb(plain, image) if plain.mode in ("RGB", "L", "CMYK") else image
    return np.array(image.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; 0 if there is none that can be read.

    Only this field is looked at. Cameras and editors write others with wrong types.
    """
    try:
        return int(image.getexif().get(_ORIENTATION, 0))
    except Exception:  # noqa: BLE001 (whatever is wrong there, the picture is none the worse)
        return 0


def _in_srgb(image: Image.Image, source: Image.Image) -> Image.Image:
    """Convert an image to sRGB by its profile; without a profile it is returned unchanged.

    The alpha channel of RGBA stays. A profile that cannot be read counts as none.
    """
    profile = source.info.get("icc_profile")
    if not isinstance(profile, bytes) or not 0 < len(profile) <= _MOST_PROFILE_BYTES:
        return image
    target = "RGBA" if image.mode == "RGBA" else "RGB"
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            image.mode,
            target,
        )
        if image.mode != "CMYK" and _changes_nothing(transform, image.mode):
            return image
        converted = ImageCms.applyTransform(image, transform)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
    if converted is None or target == "RGB":
        return converted or image
    converted.putalpha(image.getchannel("A"))
    return converted


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Return whether a transform changes no colour, in which case pixels are kept exactly."""
    steps = np.arange(0, 256, 17, dtype=np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 16, 3)
    probe = Image.fromarray(cube).convert(mode)
    seen = ImageCms.applyTransform(probe, transform)
    if seen is None:
        return False
    moved = np.abs(np.asarray(seen.convert("RGB")).astype(int) - np.asarray(probe.convert("RGB")))
    return bool(moved.max() <= _SAME_LEVELS)


def is_heif(data: bytes) -> bool:
    """Return whether a file is HEIC or another HEIF, the format of many phones."""
    return data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS


def _formats_for(data: bytes, field: str) -> tuple[str, ...]:
    """Return the formats that Pillow may try.

    Raises:
        InvalidInputError: it is HEIF, and the package that reads it is not installed.
    """
    if not is_heif(data):
        return FORMATS
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError as error:
        raise InvalidInputError(
            field,
            "is a HEIC file; install pillow-heif to read it (pip install 'genjscc[heic]'), or "
            "export it as JPEG",
        ) from error
    return (_HEIF,)


def _kind(data: bytes) -> str:
    """Describe the type of a file that was not opened, for an error: " but a GIF file"."""
    if data[4:12] == b"ftypavif":
        return " but an AVIF file"
    return next((f" but {kind}" for start, kind in _KINDS.items() if data.startswith(start)), "")


def decode_file(data: bytes, *, limits: Limits, field: str) -> NDArray[np.uint8]:
    """Decode a PNG, JPEG or WebP file to [H, W, 3] uint8, in sRGB, rotated by EXIF.

    HEIC as well where pillow-heif is installed. The size is read from the header and checked
    before a pixel is decoded.

    Raises:
        InvalidInputError: not such a file, damaged, or above the limits.
    """
    if not data:
        raise InvalidInputError(field, "is empty; must be the bytes of a PNG, JPEG or WebP file")
    if len(data) > limits.max_encoded_bytes:
        raise InvalidInputError(
            field, f"got {len(data)} bytes; at most {limits.max_encoded_bytes} are accepted"
        )
    formats = _formats_for(data, field)
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            width, height = image.size
            _check_size(height, width, limits, field)
            _check_scans(data, image.format, field)
            return rgb_from_pil(image)
    except InvalidInputError as error:
        raise InvalidInputError(field, str(error).partition(": ")[2]) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # Pillow's own limits are above ours, but it looks first.
        raise InvalidInputError(
            field, f"holds too many pixels; at most {limits.max_pixels} are accepted"
        ) from error
    except UnidentifiedImageError as error:
        raise InvalidInputError(
            field, f"got {len(data)} bytes that are not a PNG, JPEG or WebP file{_kind(data)}"
        ) from error
    except MemoryError:
        raise
    except Exception as error:
        raise InvalidInputError(field, f"the image file is damaged: {error}") from error


def size_of_file(data: bytes, *, limits: Limits, field: str) -> tuple[int, int]:
    """Return height and width of an image file from its header, before rotation.

    Raises:
        InvalidInputError: as `decode_file`, as far as the header shows it.
    """
    formats = _formats_for(data, field)
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            width, height = image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidInputError(
            field, f"holds too many pixels; at most {limits.max_pixels} are accepted"
        ) from error
    except UnidentifiedImageError as error:
        raise InvalidInputError(
            field, f"got {len(data)} bytes that are not a PNG, JPEG or WebP file{_kind(data)}"
        ) from error
    except Exception as error:
        raise InvalidInputError(field, f"the image file is damaged: {error}") from error
    _check_size(height, width, limits, field)
    return height, width


def rgb_from_open_image(
    image: Image.Image, *, limits: Limits, field: str = "image"
) -> NDArray[np.uint8]:
    """Convert a caller's Pillow image, decoded or not, to [H, W, 3] uint8.

    Raises:
        InvalidInputError: it cannot be decoded, or is above the limits.
    """
    _check_size(image.height, image.width, limits, field)
    try:
        return rgb_from_pil(image)
    except (InvalidInputError, MemoryError):
        raise
    except Exception as error:
        raise InvalidInputError(field, f"cannot read the Pillow image: {error}") from error
