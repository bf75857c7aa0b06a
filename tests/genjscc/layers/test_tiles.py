# SPDX-License-Identifier: Apache-2.0
"""Networks in tiles: the whole picture's result, without seams, in the memory of a tile."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from genjscc.layers.bottleneck import num_symbols
from genjscc.layers.tiles import Tiles, plan_tiles
from receiver.deepjscc import Decoder
from tests.helpers.tiny_bundles import fill_by_rule
from transmitter.encoder import Encoder, encode, encode_tiles

STEPS = (2, 8, 32)
NETWORKS: list[dict[str, Any]] = [
    {"width": 8},
    {"width": 8, "af": False},
    # The shape of a model for photographs.
    {"width": (32, 96, 192), "linear_path": True},
]
# A side that the tiles do not divide, and tiles of a single step at the bottleneck.
SIZE = (208, 304)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genjscc.layers.tiles._CPU_VALUES", 2**14)


def result_of(tiles: Tiles) -> Tensor:
    """Compute all tiles; there are as many as was said."""
    steps = 0
    while True:
        try:
            next(tiles.work)
        except StopIteration as end:
            assert steps == tiles.count > 8
            result: Tensor = end.value
            return result
        steps += 1


@pytest.mark.parametrize("options", NETWORKS, ids=str)
@torch.inference_mode()
def test_the_same_symbols_as_the_whole_picture(options: dict[str, Any]) -> None:
    encoder = fill_by_rule(Encoder(symbol_channels=32, channel_steps=STEPS, **options), 1).eval()
    images, snr_db = torch.rand(2, 3, *SIZE), torch.tensor([-5.0, 5.0])
    for channels in (8, None):
        whole = encode(encoder, images, snr_db, channels)
        tiled = result_of(encode_tiles(encoder, images, snr_db, channels))
        assert (tiled - whole).abs().max() < 1e-4


@pytest.mark.parametrize("options", NETWORKS, ids=str)
@torch.inference_mode()
def test_the_same_image_as_the_whole_picture(options: dict[str, Any]) -> None:
    decoder = fill_by_rule(Decoder(symbol_channels=32, channel_steps=STEPS, **options), 2).eval()
    symbols = torch.randn(2, num_symbols(8, SIZE), dtype=torch.complex64)
    snr_db = torch.tensor([-5.0, 5.0])
    whole = decoder(symbols, snr_db, SIZE)
    tiled = result_of(decoder.tiles(symbols, snr_db, SIZE))
    assert whole.std() > 0.01
    assert (tiled - whole).abs().max() < 1e-4


@torch.inference_mode()
def test_the_margin_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it there are seams, which the tests above would see."""
    decoder = fill_by_rule(Decoder(8, 32, STEPS), 2).eval()
    symbols = torch.randn(1, num_symbols(32, SIZE), dtype=torch.complex64)
    whole = decoder(symbols, torch.zeros(1), SIZE)
    monkeypatch.setattr("genjscc.layers.tiles._Segment.reach", 1)
    assert (result_of(decoder.tiles(symbols, torch.zeros(1), SIZE)) - whole).abs().max() > 1e-3


@torch.inference_mode()
def test_bfloat16_differs_by_its_own_rounding_alone() -> None:
    encoder = fill_by_rule(Encoder(8, 32, STEPS), 1).eval()
    images, snr_db = torch.rand(1, 3, *SIZE), torch.zeros(1)
    exact = encode(encoder, images, snr_db)
    with torch.autocast("cpu", torch.bfloat16):
        whole = encode(encoder, images, snr_db)
        tiled = result_of(encode_tiles(encoder, images, snr_db))
    rounding = (whole - exact).abs().pow(2).mean().sqrt()
    assert (tiled - whole).abs().pow(2).mean().sqrt() < rounding


def test_a_tile_of_twelve_megapixels_is_as_large_as_one_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("genjscc.layers.tiles._CPU_VALUES", 2**21)
    seen: list[int] = []
    network = Encoder(32, 32, STEPS).blocks
    for size in ((1024, 1024), (3008, 4000)):
        plan = plan_tiles(network, size)
        height, width = size
        for segment in plan.network:
            rows, columns = segment.tile((height, width), plan.values)
            seen.append(rows * columns)
            height, width = segment.scaled(height), segment.scaled(width)
    assert max(seen) <= 2**21 // 32
