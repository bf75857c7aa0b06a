# SPDX-License-Identifier: Apache-2.0
"""Image codecs for the separation baseline: encoding, decoding, and payload sizes.

A file's *payload* is the output of the entropy coder for this image. The rest is header, which a
link that knows codec, settings and size beforehand need not send. Per codec:

| codec | payload | header |
|---|---|---|
| jpeg | the entropy-coded data of the scans, stuffing included | all marker segments, SOI, EOI |
| jpeg2000 | packets: the data after SOD in each tile-part | main header, SOT to SOD, EOC |
| webp | the VP8 partitions | RIFF and chunk headers, VP8's 10-byte frame header, padding |
| avif | the body of `mdat`: the AV1 bitstream | all boxes, and the head of `mdat` |
| bpg | the HEVC bitstream after the HEVC header | file and HEVC header, extensions |

Quantisation and Huffman tables count as headers although they depend on the image (JPEG's Huffman
tables are optimised for each), so that results without headers favour the baseline.

Parts that no decoder needs are left out of the files in any case: JFIF and comment segments, and
the JP2 boxes around a JPEG 2000 codestream.
"""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from genjscc.errors import InvalidInputError, MissingExtraError

Rgb = NDArray[np.uint8]
CODEC_NAMES = ("jpeg", "jpeg2000", "webp", "avif", "bpg")


@dataclass(frozen=True)
class Codec:
    """Encoder and decoder of one image format.

    Attributes:
        name: one of `CODEC_NAMES`.
        settings: fixed settings, as text.
        levels: quality levels; sizes mostly rise with them.
        encode: pixels [H, W, 3] and a level -> file.
        decode: file -> pixels [H, W, 3].
        payload: file -> number of bytes that are not header.
    """

    name: str
    settings: str
    levels: range
    encode: Callable[[Rgb, int], bytes]
    decode: Callable[[bytes], Rgb]
    payload: Callable[[bytes], int]


def codec(name: str) -> Codec:
    """Return a codec by name.

    Raises:
        InvalidInputError: there is no such codec.
        MissingExtraError: Pillow was built without it, or BPG's programs are not on the path.
    """
    if name not in _CODECS:
        raise InvalidInputError("codec", f"got {name!r}; there are {', '.join(CODEC_NAMES)}")
    chosen, feature = _CODECS[name]
    if feature is None:
        missing = [program for program in ("bpgenc", "bpgdec") if shutil.which(program) is None]
        if missing:
            raise MissingExtraError(f"codec bpg: {' and '.join(missing)} are not on the path")
    elif not features.check(feature):
        raise MissingExtraError(f"codec {name}: this Pillow was built without {feature!r}")
    return chosen


def available_codecs() -> list[Codec]:
    """Return the codecs that work on this machine."""
    found = []
    for name in CODEC_NAMES:
        try:
            found.append(codec(name))
        except MissingExtraError:
            continue
    return found


def _write(pixels: Rgb, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **options)
    return file.getvalue()


def _read(data: bytes) -> Rgb:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


# --- JPEG and JPEG 2000: markers FFxx, most with a big-endian length that counts itself

_SOI, _EOI, _SOS, _APP0, _COM = 0xFFD8, 0xFFD9, 0xFFDA, 0xFFE0, 0xFFFE
_SOC, _SOT, _SOD, _EOC, _CME = 0xFF4F, 0xFF90, 0xFF93, 0xFFD9, 0xFF64


def _segments(data: bytes, start: int) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each segment with a length, until one without."""
    while start + 4 <= len(data):
        marker, length = struct.unpack_from(">HH", data, start)
        if marker in (_EOI, _SOD):
            return
        yield marker, start, start + 2 + length
        start += 2 + length


def _encode_jpeg(pixels: Rgb, level: int) -> bytes:
    data = _write(pixels, format="JPEG", quality=level, optimize=True, subsampling="4:2:0")
    for marker, start, end in _segments(data, 2):
        if marker == _APP0:
            return data[:start] + data[end:]
    return data


def _jpeg_payload(data: bytes) -> int:
    total = 0
    position = 2
    while struct.unpack_from(">H", data, position)[0] != _EOI:
        marker, length = struct.unpack_from(">HH", data, position)
        position += 2 + length
        if marker == _SOS:
            end = _end_of_scan(data, position)
            total += end - position
            position = end
    return total


def _end_of_scan(data: bytes, position: int) -> int:
    """Find the next marker; stuffed zeros and restart markers belong to the scan."""
    while True:
        position = data.index(0xFF, position)
        following = data[position + 1]
        if following != 0 and not 0xD0 <= following <= 0xD7:
            return position
        position += 2


def _encode_jpeg2000(pixels: Rgb, level: int) -> bytes:
    # Each resolution costs bytes even if it is empty; a small image needs only a few.
    resolutions = min(6, max(1, min(pixels.shape[:2]).bit_length() - 3))
    # Half a decibel per level: OpenJPEG stops adding coding passes when the tile reaches that PSNR.
    data = _write(
        pixels,
        format="JPEG2000",
        no_jp2=True,
        irreversible=True,
        mct=1,
        num_resolutions=resolutions,
        quality_mode="dB",
        quality_layers=[level / 2],
    )
    for marker, start, end in _segments(data, 2):
        if marker == _CME:
            return data[:start] + data[end:]
    return data


def _jpeg2000_payload(data: bytes) -> int:
    total = 0
    position = next(start for marker, start, _ in _segments(data, 2) if marker == _SOT)
    while position + 12 <= len(data) and struct.unpack_from(">H", data, position)[0] == _SOT:
        (length,) = struct.unpack_from(">I", data, position + 6)
        # 0: the last tile-part, which ends before EOC.
        end = position + length if length else len(data) - 2
        *_, (_, _, head) = _segments(data, position)
        total += end - (head + 2)
        position = end
    return total


# --- WebP: RIFF chunks


def _encode_webp(pixels: Rgb, level: int) -> bytes:
    return _write(pixels, format="WEBP", quality=level, method=6)


def _webp_payload(data: bytes) -> int:
    position = 12
    while position + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, position)
        if name == b"VP8 ":
            return int(size) - 10
        position += 8 + size + size % 2
    raise ValueError("not a lossy WebP file")


# --- AVIF: ISO base media boxes


def _encode_avif(pixels: Rgb, level: int) -> bytes:
    return _write(pixels, format="AVIF", quality=level, speed=6, subsampling="4:2:0", max_threads=1)


def _avif_payload(data: bytes) -> int:
    total = position = 0
    while position < len(data):
        size, name = struct.unpack_from(">I4s", data, position)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, position + 8)
            head = 16
        elif size == 0:  # to the end of the file
            size = len(data) - position
        if name == b"mdat":
            total += size - head
        position += size
    return total


# --- BPG: two programs


def _encode_bpg(pixels: Rgb, level: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.png"), Path(folder, "out.bpg")
        Image.fromarray(pixels).save(source)
        _run("bpgenc", "-q", str(51 - level), "-o", str(target), str(source))
        return target.read_bytes()


def _decode_bpg(data: bytes) -> Rgb:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.bpg"), Path(folder, "out.png")
        source.write_bytes(data)
        _run("bpgdec", "-o", str(target), str(source))
        return _read(target.read_bytes())


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=600)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingExtraError(f"codec bpg: {command[0]} failed: {error}") from error


def _bpg_payload(data: bytes) -> int:
    has_alpha = bool(data[4] & 0x10) or bool(data[5] & 0x04)
    has_extension = bool(data[5] & 0x08)
    position = 6
    for _ in range(3):  # width, height, length of the picture data
        _, position = _ue7(data, position)
    if has_extension:
        length, position = _ue7(data, position)
        position += length
    for _ in range(1 + has_alpha):
        length, position = _ue7(data, position)
        position += length
    return len(data) - position


def _ue7(data: bytes, position: int) -> tuple[int, int]:
    """Decode a number in groups of 7 bits, high ones first; return it and its end."""
    value = 0
    while True:
        byte = data[position]
        position += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, position


_CODECS: dict[str, tuple[Codec, str | None]] = {
    "jpeg": (
        Codec(
            "jpeg",
            "baseline, 4:2:0, optimised Huffman tables, quality 1 to 95",
            range(1, 96),
            _encode_jpeg,
            _read,
            _jpeg_payload,
        ),
        "jpg",
    ),
    "jpeg2000": (
        Codec(
            "jpeg2000",
            "raw codestream, 9/7 wavelet, one layer for a PSNR of 8 to 50 dB in steps of 0.5",
            range(16, 101),
            _encode_jpeg2000,
            _read,
            _jpeg2000_payload,
        ),
        "jpg_2000",
    ),
    "webp": (
        Codec(
            "webp",
            "lossy, method 6 (the slowest), quality 0 to 100",
            range(101),
            _encode_webp,
            _read,
            _webp_payload,
        ),
        "webp",
    ),
    "avif": (
        # Speed 4 takes four times as long for 0.1 to 0.2 dB at equal size.
        Codec(
            "avif",
            "4:2:0, speed 6, quality 0 to 100 in steps of 2",
            range(0, 101, 2),
            _encode_avif,
            _read,
            _avif_payload,
        ),
        "avif",
    ),
    "bpg": (
        Codec(
            "bpg",
            "bpgenc's own settings, QP 51 to 0",
            range(52),
            _encode_bpg,
            _decode_bpg,
            _bpg_payload,
        ),
        None,
    ),
}
