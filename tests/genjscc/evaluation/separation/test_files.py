# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from genjscc.evaluation.separation.codecs import Codec
from genjscc.evaluation.separation.files import Files, last_true, resized, restore, scaled_sizes
from genjscc.quality.psnr import psnr_db
from tests.helpers.pictures import gradient

PICTURE = gradient(32, 24)
HEADER = 4


class Quantiser:
    """A codec of `level` bits a sample whose sizes are known beforehand; counts its files."""

    def __init__(self) -> None:
        self.made: list[tuple[int, int]] = []
        self.codec = Codec("q", "", range(1, 9), self.encode, self.decode, lambda d: len(d) - 4)

    def encode(self, pixels: NDArray[np.uint8], level: int) -> bytes:
        self.made.append((pixels.shape[0], level))
        coarse = pixels >> (8 - level)
        bits = np.unpackbits(coarse[..., None], axis=-1)[..., 8 - level :]
        return struct.pack(">BHB", level, *pixels.shape[:2]) + np.packbits(bits).tobytes()

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        level, height, width = struct.unpack(">BHB", data[:HEADER])
        bits = np.unpackbits(np.frombuffer(data[HEADER:], np.uint8))
        bits = bits[: height * width * 3 * level].reshape(height, width, 3, level)
        padded = np.concatenate([np.zeros((*bits.shape[:3], 8 - level), np.uint8), bits], -1)
        coarse = np.packbits(padded, axis=-1)[..., 0]
        return (coarse << (8 - level) | (1 << 8 - level >> 1)).astype(np.uint8)


@given(st.integers(0, 40), st.integers(0, 40))
def test_bisection_finds_the_last_true(count: int, trues: int) -> None:
    expected = min(trues, count) - 1
    assert last_true(lambda i: i < trues, count) == (None if expected < 0 else expected)


@pytest.mark.parametrize("headers", [True, False])
def test_the_search_finds_what_trying_everything_finds(headers: bool) -> None:
    quantiser = Quantiser()
    files = Files(quantiser.codec, PICTURE)
    everything = []
    for size in scaled_sizes(*PICTURE.shape[:2]):
        small = resized(PICTURE, size, Image.Resampling.LANCZOS)
        for level in quantiser.codec.levels:
            data = quantiser.encode(small, level)
            shown = restore(quantiser.codec, data, *PICTURE.shape[:2])
            cost = len(data) - (0 if headers else HEADER)
            everything.append((cost, psnr_db(PICTURE, shown)))
    quantiser.made.clear()
    for budget in (0, 9, 10, 25, 60, 150, 400, 1000, 5000):
        best = max((quality for cost, quality in everything if cost <= budget), default=None)
        file = files.best(budget, headers=headers)
        if best is None:
            assert file is None
        else:
            assert file is not None
            assert file.size(headers=headers) <= budget
            assert file.psnr_db == pytest.approx(min(best, 100.0))
    assert len(quantiser.made) == len(set(quantiser.made)), "a file was made twice"


def test_a_picture_shrinks_by_root_two_down_to_four_pixels() -> None:
    sizes = scaled_sizes(64, 96)
    assert sizes[:3] == [(64, 96), (45, 68), (32, 48)]
    assert sizes[-1] == (4, 6)
    assert scaled_sizes(3, 9) == [(3, 9)]
