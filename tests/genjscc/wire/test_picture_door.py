# SPDX-License-Identifier: Apache-2.0
"""One door for pictures: what shows elsewhere is read, what is dangerous or unclear is named."""

from __future__ import annotations

import ast
import io
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from genjscc.client.protocol import image_to_message, to_rgb_array
from genjscc.errors import InvalidInputError
from genjscc.limits import PHOTO_LIMITS, Limits
from genjscc.photos import load_photo, load_square, square
from genjscc.training.data import ImageFolder
from genjscc.wire import images
from genjscc.wire.images import decode_file, rgb_from_pil
from tests.helpers.pictures import file_of, gradient, png_bomb

ROOT = Path(__file__).resolve().parents[3]
INTAKE = ROOT / "tests" / "fixtures" / "intake"
FAULTY_EXIF = sorted(INTAKE.glob("exif_*.jpg"))


def by_every_door(path: Path) -> list[NDArray[np.uint8]]:
    """A file as a service reads it, as the SDK does, and as commands do that scale it."""
    data = path.read_bytes()
    with Image.open(path) as opened:
        by_pillow = to_rgb_array(opened)
    return [
        decode_file(data, limits=Limits(), field="image"),
        to_rgb_array(path),
        to_rgb_array(data),
        load_photo(path),
        by_pillow,
    ]


@pytest.mark.parametrize("path", FAULTY_EXIF, ids=lambda path: path.stem)
def test_faulty_exif_costs_neither_the_picture_nor_its_orientation(path: Path) -> None:
    with Image.open(path) as stored:
        lying = np.asarray(stored)
    for rgb in by_every_door(path):
        np.testing.assert_array_equal(rgb, np.rot90(lying, -1))


@pytest.mark.filterwarnings("ignore")  # Pillow remarks on damage
@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"\xff" * 40])
def test_exif_that_cannot_be_read_is_no_reason_to_refuse(exif: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(file_of(gradient(), "JPEG", exif=exif))
    for rgb in by_every_door(path):
        assert rgb.shape == (48, 40, 3)


def test_whatever_pillow_raises_over_a_file_is_told_as_its_damage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_: Any) -> None:
        raise KeyError("a bug of a decoder")

    monkeypatch.setattr(images, "rgb_from_pil", broken)
    with pytest.raises(InvalidInputError, match="image file is damaged"):
        decode_file(file_of(gradient()), limits=Limits(), field="image")
    with pytest.raises(InvalidInputError, match="cannot read the Pillow image"):
        to_rgb_array(Image.fromarray(gradient()))


def test_an_adobe_rgb_photo_keeps_its_colours() -> None:
    # The file holds (0, 200, 0) and so on in Adobe RGB, whose green is beyond that of sRGB.
    path = INTAKE / "adobergb.jpg"
    with Image.open(path) as stored:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(stored.info["icc_profile"]))
        expected = ImageCms.profileToProfile(stored, profile, ImageCms.createProfile("sRGB"))
        raw = np.asarray(stored).astype(int)
    assert expected is not None
    for rgb in by_every_door(path):
        np.testing.assert_array_equal(rgb, np.asarray(expected))
        assert np.abs(rgb - raw).max() > 10


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_a_profile_that_is_srgb_leaves_every_pixel_alone(mode: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(gradient()).convert(mode)
    plain = decode_file(file_of(image), limits=Limits(), field="image")
    kept = decode_file(file_of(image, icc_profile=profile), limits=Limits(), field="image")
    np.testing.assert_array_equal(kept, plain)


def test_transparency_and_profile_go_together() -> None:
    with Image.open(INTAKE / "adobergb.jpg") as stored:
        profile = stored.info["icc_profile"]
        wanted = rgb_from_pil(stored)
        rgba = stored.convert("RGBA")
    rgba.putalpha(255)
    rgba.paste((0, 0, 0, 0), (0, 0, 64, 8))
    back = decode_file(file_of(rgba, icc_profile=profile), limits=Limits(), field="image")
    assert (back[:8] == 255).all()
    assert np.abs(back[8:].astype(int) - wanted[8:]).max() <= 1


@pytest.mark.parametrize("profile", [b"p" * 501, b"x" * (5 * 1024 * 1024)])
def test_a_broken_profile_counts_as_none(profile: bytes) -> None:
    image = Image.fromarray(gradient())
    image.info["icc_profile"] = profile
    np.testing.assert_array_equal(rgb_from_pil(image), gradient())


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_without_black_and_white_are_refused_by_name(mode: str) -> None:
    image = Image.fromarray(gradient()[..., 0]).convert(mode)
    with pytest.raises(InvalidInputError, match=rf"image: got mode '{mode}'.*convert\('L'\)"):
        to_rgb_array(image)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (file_of(gradient(), "GIF"), "a GIF file"),
        (file_of(gradient(), "TIFF"), "a TIFF file"),
        (file_of(gradient(), "BMP"), "a BMP file"),
        (b"\0\0\0\x1cftypavif" + bytes(90), "an AVIF file"),
        ((INTAKE / "postscript_endless_loop.jpg").read_bytes(), "a PostScript file"),
    ],
)
def test_other_formats_are_named_at_every_door(data: bytes, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    for read in (
        lambda: decode_file(data, limits=Limits(), field="image"),
        lambda: to_rgb_array(path),
        lambda: load_square(path, 16),
        lambda: ImageFolder(tmp_path, 16)[0],
    ):
        with pytest.raises(InvalidInputError, match=kind):
            read()


def test_bombs_are_refused_at_every_door(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_bomb(20_000, 20_000))
    with pytest.raises(InvalidInputError, match=f"at most {PHOTO_LIMITS.max_pixels}"):
        load_square(path, 64)
    with pytest.raises(InvalidInputError, match=f"at most {PHOTO_LIMITS.max_pixels}"):
        to_rgb_array(path)


@pytest.mark.parametrize("size", [-1, 0, 4097, 100_000])
def test_a_square_is_no_larger_than_a_service_takes(size: int) -> None:
    with pytest.raises(InvalidInputError, match=rf"size: got {size}; must be 1 to 4096"):
        square(gradient(), size)


def test_a_long_file_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "video.jpg"
    path.write_bytes(bytes(200))
    monkeypatch.setattr("genjscc.photos.PHOTO_LIMITS", Limits(max_encoded_bytes=100))
    for read in (load_photo, image_to_message):
        with pytest.raises(InvalidInputError, match="more than 100 bytes"):
            read(path)


HEIC = b"\0\0\0\x18ftypheic" + bytes(40)


def test_heic_is_named_where_nothing_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InvalidInputError, match=r"HEIC.*pillow-heif.*JPEG"):
        to_rgb_array(HEIC)


def test_heic_is_read_where_pillow_heif_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def register() -> None:
        def opened(file: Any, _name: Any) -> Image.Image:
            assert file.read(12)[4:] == b"ftypheic"
            return Image.fromarray(gradient())

        Image.register_open("HEIF", opened, lambda start: start[4:12] == b"ftypheic")

    package = types.ModuleType("pillow_heif")
    package.register_heif_opener = register  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    try:
        message = image_to_message(HEIC)
        np.testing.assert_array_equal(to_rgb_array(HEIC), gradient())
    finally:
        Image.OPEN.pop("HEIF", None)
        Image.ID.remove("HEIF")
    assert message.WhichOneof("content") == "raw"  # services need not know the format


def test_nobody_else_opens_pictures() -> None:
    found = {
        str(path.relative_to(ROOT))
        for folder in ("genjscc", "receiver", "transmitter", "channel")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr == "open"
        and isinstance(node.value, ast.Name)
        and node.value.id == "Image"
    }
    # The separation baseline reads what its own codecs have just written.
    own = {name for name in found if "separation" in name and "codecs" in name}
    assert found - own == {"genjscc/wire/images.py"}
