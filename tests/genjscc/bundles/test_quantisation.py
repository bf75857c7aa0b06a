# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from genjscc.bundles.quantisation import narrowed, restored
from genjscc.bundles.store import write_weights
from genjscc.errors import BundleError


def weights() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    # Rows of very different sizes, as trained networks have them.
    return (
        torch.randn(6, 5, 3, 3, generator=generator) * torch.logspace(-3, 2, 6)[:, None, None, None]
    )


def test_integers_keep_each_row_to_half_a_step() -> None:
    x = weights()
    y = restored(narrowed("weight", x, torch.int8))["weight"]
    step = x.abs().amax((1, 2, 3)) / 127
    assert ((x - y).abs().amax((1, 2, 3)) <= step * 0.501).all()


@pytest.mark.parametrize(("name", "shape"), [("bias", (7,)), ("weight", (7,)), ("gamma", (7, 5))])
def test_biases_and_gdn_stay_in_float16(name: str, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    stored = narrowed(name, x, torch.int8)
    assert list(stored) == [name]
    assert torch.equal(restored(stored)[name], x.half().float())


def test_a_row_of_zeros_survives() -> None:
    x = weights()
    x[2] = 0
    assert torch.equal(restored(narrowed("weight", x, torch.int8))["weight"][2], x[2])


@pytest.mark.parametrize("scales", [None, torch.ones(5)])
def test_missing_or_odd_scales_are_refused(scales: torch.Tensor | None) -> None:
    stored = narrowed("weight", weights(), torch.int8)
    del stored["weight:scale"]
    if scales is not None:
        stored["weight:scale"] = scales
    with pytest.raises(ValueError, match="weight: its scales"):
        restored(stored)


def test_a_weight_that_is_not_finite_is_not_written(tmp_path: Path) -> None:
    network = nn.Conv2d(2, 2, 3)
    nn.init.constant_(network.weight, float("nan"))
    with pytest.raises(BundleError, match="weight"):
        write_weights(network, tmp_path / "w.safetensors", torch.int8)


def test_a_file_of_integers_is_about_half_as_large(tmp_path: Path) -> None:
    network = nn.Conv2d(64, 64, 3)
    sizes = []
    for dtype in (torch.float16, torch.int8):
        path = tmp_path / f"{dtype}.safetensors"
        write_weights(network, path, dtype)
        sizes.append(path.stat().st_size)
    assert sizes[1] < 0.52 * sizes[0]
