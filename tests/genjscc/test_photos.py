# SPDX-License-Identifier: Apache-2.0
"""Photographs that are larger than a service accepts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genjscc.cli.commands.send import accepted
from genjscc.errors import InvalidInputError
from genjscc.limits import Limits
from genjscc.photos import ACCEPTED_BY_ALL, reduced_photo
from genjscc.pixels import padded_size

ROTATED = 6


def photo(folder: Path, width: int, height: int, orientation: int = 1) -> Path:
    """Write a JPEG with a red left edge, as the camera saw it."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 4, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = folder / f"{width}x{height}.jpg"
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def test_the_photo_of_a_phone_is_sent_at_its_own_size(tmp_path: Path) -> None:
    """12 megapixels, and the service's default limit."""
    path = photo(tmp_path, 4032, 3024, ROTATED)
    assert reduced_photo(path, lambda: Limits().max_pixels) is None
    assert accepted(path, lambda: Limits().max_pixels) == path


def test_no_limit_is_asked_for_a_photo_that_every_service_accepts(tmp_path: Path) -> None:
    def ask() -> int:
        raise AssertionError

    assert reduced_photo(photo(tmp_path, 1600, 1200), ask) is None


def test_a_photo_beyond_the_limit_is_reduced_upright_and_a_line_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = photo(tmp_path, 2000, 1500, ROTATED)
    limit = ACCEPTED_BY_ALL + 16
    sent = accepted(path, lambda: limit)
    assert isinstance(sent, np.ndarray)
    height, width, _ = sent.shape
    rows, columns = padded_size((height, width))
    assert 0.97 * limit < rows * columns <= limit
    assert height / width == pytest.approx(2000 / 1500, rel=2e-3)
    # The camera's left edge is at the top.
    assert sent[: height // 5, :, 0].mean() > 240
    assert sent[height // 3 :, :, 0].mean() < 15
    printed = capsys.readouterr().err.replace("\n", "")
    assert f"reduced to {width}x{height} pixels" in printed
    assert str(limit) in printed


def test_a_panorama_is_reduced_to_the_longest_side(tmp_path: Path) -> None:
    sent = reduced_photo(photo(tmp_path, 9000, 300), lambda: Limits().max_pixels)
    assert sent is not None
    assert sent.shape == (300 * Limits().max_side // 9000, Limits().max_side, 3)


@pytest.mark.parametrize("content", [b"", b"nothing"])
def test_what_is_no_photo_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match="photo"):
        reduced_photo(path, lambda: 1)
