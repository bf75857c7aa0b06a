# SPDX-License-Identifier: Apache-2.0
"""Graphs: the digits of the networks that they were made of, and no Python inside."""

from __future__ import annotations

import sys

import pytest
import torch

from genjscc.layers.bottleneck import num_symbols
from receiver.deepjscc import Decoder
from tests.helpers.tiny_bundles import fill_by_rule
from transmitter.encoder import Encoder, encode

CPU = torch.device("cpu")
SHAPES = [(1, (16, 16)), (3, (48, 32)), (16, (64, 64))]


def make_encoder() -> Encoder:
    return fill_by_rule(Encoder(8, 32, (2, 8, 32)), 1).eval().requires_grad_(False)


def snrs_db(count: int) -> torch.Tensor:
    return torch.linspace(-5, 5, count)


@pytest.mark.parametrize("channels", [2, 8, 32])
@torch.inference_mode()
def test_a_frozen_encoder_gives_the_same_symbols(channels: int) -> None:
    plain, frozen = make_encoder(), make_encoder()
    frozen.freeze(CPU)
    for count, size in SHAPES:
        images = torch.rand(count, 3, *size)
        torch.testing.assert_close(
            encode(frozen, images, snrs_db(count), channels),
            encode(plain, images, snrs_db(count), channels),
            rtol=1e-5,
            atol=1e-6,
        )


@pytest.mark.parametrize("channels", [2, 8, 32])
@torch.inference_mode()
def test_a_frozen_decoder_gives_the_same_images(channels: int) -> None:
    decoder = fill_by_rule(Decoder(8, 32, (2, 8, 32)), 2).eval().requires_grad_(False)
    frozen = decoder.frozen()
    for count, size in SHAPES:
        symbols = torch.randn(count, num_symbols(channels, size), dtype=torch.complex64)
        torch.testing.assert_close(
            frozen(symbols, snrs_db(count), size),
            decoder(symbols, snrs_db(count), size),
            rtol=1e-5,
            atol=1e-6,
        )


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="TorchScript ends there")
def test_nothing_in_a_graph_needs_the_interpreter() -> None:
    encoder = make_encoder()
    encoder.freeze(CPU)
    encoder.freeze(CPU)  # changes nothing any more
    assert isinstance(encoder.graph, torch.jit.ScriptModule)
    assert "PythonOp" not in str(encoder.graph.graph)
    assert "conv" in str(encoder.graph.graph)
