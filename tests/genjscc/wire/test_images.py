# SPDX-License-Identifier: Apache-2.0
"""Images: good files of every kind, and everything that only looks like one."""

from __future__ import annotations

import contextlib
import io
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from genjscc.errors import InvalidInputError, UnsupportedError
from genjscc.limits import Limits
from genjscc.v1 import tensor_pb2
from genjscc.wire.images import decode_file, rgb_from_message, rgb_to_message
from tests.helpers.pictures import file_of, gradient, noise, png_bomb

LIMITS = Limits()
pixels = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


def decode(data: bytes, limits: Limits = LIMITS) -> NDArray[np.uint8]:
    return decode_file(data, limits=limits, field="image")


@given(pixels, st.sampled_from(tensor_pb2.ImageFormat.values()))
def test_round_trip(rgb: NDArray[np.uint8], format_: tensor_pb2.ImageFormat.ValueType) -> None:
    data = rgb_to_message(rgb, format_).SerializeToString()
    back = rgb_from_message(tensor_pb2.Image.FromString(data), limits=LIMITS)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, rgb)


def test_strided_pixels_keep_their_order() -> None:
    rgb = noise(6, 8)[::2, ::-1]
    np.testing.assert_array_equal(rgb_from_message(rgb_to_message(rgb), limits=LIMITS), rgb)


def test_unknown_format_is_unsupported() -> None:
    with pytest.raises(UnsupportedError, match="99"):
        rgb_to_message(gradient(), 99)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_files_of_each_kind(kind: str) -> None:
    back = decode(file_of(gradient(), kind, quality=95))
    assert back.shape == (48, 40, 3)
    assert np.abs(back.astype(int) - gradient()).mean() < (1 if kind == "PNG" else 6)


def test_exif_rotation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    data = file_of(gradient(48, 40), "JPEG", exif=exif, quality=95)
    upright = decode(data)
    assert upright.shape == (40, 48, 3)
    assert np.abs(upright.astype(int) - np.rot90(gradient(48, 40), -1)).mean() < 6


def test_16_bit_grey_keeps_its_shades() -> None:
    levels = (np.arange(32 * 32).reshape(32, 32) * 64).astype(np.uint16)
    back = decode(file_of(Image.fromarray(levels)))
    expected = np.round(levels / 257).astype(int)
    assert np.abs(back.astype(int) - expected[..., None]).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_other_colour_modes_become_rgb(mode: str) -> None:
    kind = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    image = Image.fromarray(gradient()).convert(mode)
    back = decode(file_of(image, kind))
    assert back.shape == (48, 40, 3)
    expected = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(back - expected).mean() < (6 if kind == "JPEG" else 1)


def test_transparency_is_laid_on_white() -> None:
    rgba = np.zeros((16, 16, 4), np.uint8)
    rgba[:, 8:] = (200, 10, 10, 255)
    back = decode(file_of(Image.fromarray(rgba)))
    assert (back[:, :8] == 255).all()
    assert (back[:, 8:] == (200, 10, 10)).all()


GOOD = {kind: file_of(gradient(), kind) for kind in ("PNG", "JPEG", "WEBP")}


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_truncated_files_are_refused(kind: str, part: float) -> None:
    data = file_of(noise(48, 40), kind)
    with pytest.raises(InvalidInputError, match="image: "):
        decode(data[: int(len(data) * part)])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is empty"),
        (b"hello, I am a photo", "19 bytes that are not a PNG, JPEG or WebP"),
        (file_of(gradient(), "GIF"), "not a PNG, JPEG or WebP"),
        (file_of(gradient(), "BMP"), "not a PNG, JPEG or WebP"),
        (file_of(gradient(), "TIFF"), "not a PNG, JPEG or WebP"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a PNG, JPEG or WebP"),
        (b"\x89PNG\r\n\x1a\n", "image: "),
    ],
)
def test_what_is_no_image_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem) as caught:
        decode(data)
    assert caught.value.field == "image"


# Pillow has thresholds of its own at 89 and 179 megapixels; ours must speak first.
@pytest.mark.parametrize(("height", "width"), [(5000, 5000), (10_000, 10_000), (20_000, 20_000)])
def test_decompression_bombs_are_refused_by_size_without_being_decoded(
    height: int, width: int
) -> None:
    bomb = png_bomb(height, width)
    assert len(bomb) < 1000
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInputError, match=f"pixels.* at most {Limits().max_pixels}"):
            decode(bomb)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_long_files_are_refused_unread() -> None:
    with pytest.raises(InvalidInputError, match="got 101 bytes; at most 100"):
        decode(bytes(101), Limits(max_encoded_bytes=100))


def test_the_pixel_limit_itself_is_accepted() -> None:
    assert decode(file_of(gradient(10, 10)), Limits(max_pixels=100)).shape == (10, 10, 3)
    with pytest.raises(InvalidInputError, match="10x11 = 110 pixels; at most 100"):
        decode(file_of(gradient(11, 10)), Limits(max_pixels=100))


@pytest.mark.parametrize(
    ("raw", "field", "problem"),
    [
        (tensor_pb2.RawImage(height=2, width=2, rgb=bytes(11)), "image.raw.rgb", "11 bytes"),
        (tensor_pb2.RawImage(height=2, width=2, rgb=bytes(13)), "image.raw.rgb", "are 12"),
        (tensor_pb2.RawImage(height=0, width=2), "image.raw", "no pixel"),
        (tensor_pb2.RawImage(height=2**31, width=2**31), "image.raw", "at most"),
    ],
)
def test_wrong_raw_pixels_are_refused(raw: tensor_pb2.RawImage, field: str, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem) as caught:
        rgb_from_message(tensor_pb2.Image(raw=raw), limits=LIMITS)
    assert caught.value.field == field


def test_missing_image_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="image: is missing"):
        rgb_from_message(tensor_pb2.Image(), limits=LIMITS)


@pytest.mark.filterwarnings("ignore")  # Pillow remarks on damage
@given(st.sampled_from(sorted(GOOD)), st.data())
def test_damaged_files_are_read_or_refused_but_never_crash(kind: str, data: st.DataObject) -> None:
    file = bytearray(EXIF_JPEG if kind == "JPEG" else GOOD[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InvalidInputError):
        assert decode(bytes(file)).ndim == 3


def _with_exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 3, "maker"
    exif.get_ifd(0x8769)[0x829A] = (1, 60)
    file = io.BytesIO()
    Image.fromarray(gradient(16, 16)).save(file, "JPEG", exif=exif)
    return file.getvalue()


EXIF_JPEG = _with_exif()
