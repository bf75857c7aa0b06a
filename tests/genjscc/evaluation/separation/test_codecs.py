# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from genjscc.errors import InvalidInputError, MissingExtraError
from genjscc.evaluation.separation.codecs import Codec, available_codecs, codec
from genjscc.quality.psnr import psnr_db
from tests.helpers.pictures import file_of, gradient

CODECS = [codec(name) for name in ("jpeg", "jpeg2000", "webp", "avif")]
PICTURE = gradient(40, 56)


@pytest.mark.parametrize("chosen", CODECS, ids=lambda c: c.name)
@pytest.mark.parametrize("size", [(4, 6), (16, 16), (33, 70)])
def test_a_file_gives_its_picture_back(chosen: Codec, size: tuple[int, int]) -> None:
    picture = gradient(*size)
    coarse, fine = (chosen.encode(picture, chosen.levels[i]) for i in (0, -1))
    assert chosen.decode(fine).shape == picture.shape
    assert chosen.decode(coarse).shape == picture.shape
    # Chroma is halved by most, which costs a 4x6 picture of strong colours much.
    assert psnr_db(picture, chosen.decode(fine)) > (19 if min(size) < 8 else 30)
    assert 0 < chosen.payload(coarse) < chosen.payload(fine) < len(fine)


METADATA = {
    "jpeg": {"comment": b"c" * 300, "icc_profile": b"p" * 500},
    "jpeg2000": {"comment": b"c" * 300, "no_jp2": True},
    "webp": {"icc_profile": b"p" * 501, "exif": b"Exif\0\0" + b"e" * 100},
    "avif": {"icc_profile": b"p" * 500},
}
KINDS = {"jpeg": "JPEG", "jpeg2000": "JPEG2000", "webp": "WEBP", "avif": "AVIF"}


@pytest.mark.parametrize("chosen", CODECS, ids=lambda c: c.name)
def test_what_is_said_about_a_picture_is_header(chosen: Codec) -> None:
    plain = file_of(PICTURE, KINDS[chosen.name])
    talkative = file_of(PICTURE, KINDS[chosen.name], **METADATA[chosen.name])
    if chosen.name == "jpeg2000":  # the plain file has JP2 boxes
        plain = file_of(PICTURE, "JPEG2000", no_jp2=True)
    assert len(talkative) > len(plain) + 250
    assert chosen.payload(talkative) == chosen.payload(plain)


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">HH", marker, len(body) + 2) + body


def test_jpeg_counts_every_scan_with_stuffing_and_restarts() -> None:
    first = b"\x12\xff\x00\x34\xff\xd0\x56"
    second = b"\xff\x00\xff\x00"
    data = (
        b"\xff\xd8"
        + segment(0xFFDB, bytes(65))
        + segment(0xFFDA, b"\xff\xd9 not the end")
        + first
        + segment(0xFFC4, bytes(20))
        + segment(0xFFDA, bytes(6))
        + second
        + b"\xff\xd9"
    )
    assert codec("jpeg").payload(data) == len(first) + len(second)


@pytest.mark.parametrize("open_end", [False, True])
def test_jpeg2000_counts_the_packets_of_every_tile_part(open_end: bool) -> None:
    def tile_part(body: bytes, *, open_end: bool = False) -> bytes:
        head = segment(0xFF52, bytes(10)) + b"\xff\x93"
        length = 0 if open_end else 12 + len(head) + len(body)
        return struct.pack(">HHHIBB", 0xFF90, 10, 0, length, 0, 1) + head + body

    data = b"\xff\x4f" + segment(0xFF51, bytes(40)) + tile_part(b"\xff\x7f" * 4)
    data += tile_part(bytes(33), open_end=open_end) + b"\xff\xd9"
    assert codec("jpeg2000").payload(data) == 8 + 33


def test_webp_counts_the_frame_without_its_header() -> None:
    frame = bytes(10) + b"p" * 21
    chunks = b"ICCP" + struct.pack("<I", 3) + b"abc\0"
    chunks += b"VP8 " + struct.pack("<I", len(frame)) + frame + b"\0"
    data = b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks
    assert codec("webp").payload(data) == 21
    with pytest.raises(ValueError, match="lossy"):
        codec("webp").payload(file_of(PICTURE, "WEBP", lossless=True))


def test_avif_counts_media_data_whatever_form_its_size_has() -> None:
    data = struct.pack(">I4s", 12, b"ftyp") + b"avif"
    data += struct.pack(">I4sQ", 1, b"mdat", 16 + 5) + bytes(5)
    data += struct.pack(">I4s", 8 + 7, b"mdat") + bytes(7)
    data += struct.pack(">I4s", 0, b"mdat") + bytes(9)
    assert codec("avif").payload(data) == 5 + 7 + 9


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("extension", [b"", b"e" * 200])
def test_bpg_counts_what_follows_the_hevc_header(alpha: bool, extension: bytes) -> None:
    def ue7(value: int) -> bytes:
        high = bytes([0x80 | value >> 7]) if value > 127 else b""
        return high + bytes([value & 0x7F])

    data = b"BPG\xfb" + bytes([0x10 * alpha, 0x08 * bool(extension)])
    data += ue7(300) + ue7(64) + ue7(1000)
    data += ue7(len(extension)) + extension if extension else b""
    data += (ue7(5) + b"alpha") * alpha + ue7(3) + b"hdr" + b"v" * 40
    assert bpg().payload(data) == 40


def bpg() -> Codec:
    """Whether or not its programs are there."""
    from genjscc.evaluation.separation import codecs

    return codecs._CODECS["bpg"][0]


PROGRAM = """#!{python}
import sys
target, source = sys.argv[sys.argv.index('-o') + 1], sys.argv[-1]
data = open(source, 'rb').read()
if sys.argv[0].endswith('bpgenc'):
    data = b'BPG\\xfb\\0\\0\\1\\1\\1\\0' + sys.argv[sys.argv.index('-q') + 1].encode() + data
else:
    data = data[data.index(b'\\x89PNG'):]
open(target, 'wb').write(data)
"""


def test_bpg_is_offered_where_its_programs_are_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtraError, match="bpgenc and bpgdec are not on the path"):
        codec("bpg")
    assert "bpg" not in [c.name for c in available_codecs()]
    for name in ("bpgenc", "bpgdec"):
        program = tmp_path / name
        program.write_text(PROGRAM.format(python=sys.executable))
        program.chmod(0o755)
    chosen = codec("bpg")
    data = chosen.encode(PICTURE, chosen.levels[-1])
    assert data[10:11] == b"0"  # QP 0 is the finest
    np.testing.assert_array_equal(chosen.decode(data), PICTURE)
    assert chosen.payload(data) == len(data) - 10
    (tmp_path / "bpgenc").write_text(f"#!{os.devnull}\n")
    with pytest.raises(MissingExtraError, match="bpgenc failed"):
        chosen.encode(PICTURE, 0)


def test_an_unknown_codec_is_named() -> None:
    with pytest.raises(InvalidInputError, match="'gif'; there are jpeg"):
        codec("gif")
