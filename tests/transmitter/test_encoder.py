# SPDX-License-Identifier: Apache-2.0
"""The encoder: sizes of the paper, rates, SNR, power."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from genjscc.layers import (
    AFModule,
    AttentionBlock,
    ResidualBlock,
    ResidualBlockUpsample,
    ResidualBlockWithStride,
)
from genjscc.layers.bottleneck import SOURCE_SAMPLES_PER_SYMBOL, num_symbols
from receiver.deepjscc import Decoder
from tests.helpers.tiny_bundles import fill_by_rule
from transmitter.encoder import Encoder, encode


def millions(module: nn.Module) -> float:
    return round(sum(p.numel() for p in module.parameters()) / 1e6, 2)


@pytest.mark.parametrize(
    ("width", "encoder", "decoder"), [(256, 8.59, 16.90), (128, 2.16, 4.28), (64, 0.55, 1.10)]
)
def test_parameter_counts(width: int, encoder: float, decoder: float) -> None:
    with torch.device("meta"):
        assert millions(Encoder(width, 8)) == encoder
        assert millions(Decoder(width, 8)) == decoder


def test_order_of_the_blocks_is_that_of_figure_4() -> None:
    rb, rbs, rbu = ResidualBlock, ResidualBlockWithStride, ResidualBlockUpsample
    af, attn = AFModule, AttentionBlock
    sent = [rbs, af, rb, rbs, af, attn, rb, rbs, af, rb, rbs, af, attn]
    received = [attn, rb, rbu, af, rb, rbu, af, attn, rb, rbu, af, rb, rbu, af]
    assert [type(block) for block in Encoder(8, 8).blocks] == sent
    assert [type(block) for block in Decoder(8, 8).blocks] == received


@pytest.mark.parametrize(
    ("side", "counts"),
    [(64, (16, 64, 256)), (256, (256, 1024, 4096)), (512, (1024, 4096, 16384))],
)
def test_k_at_the_papers_rates(side: int, counts: tuple[int, ...]) -> None:
    for channels, rho, k in zip((2, 8, 32), (768, 192, 48), counts, strict=True):
        assert num_symbols(channels, (side, side)) == k
        assert k * rho == 3 * side * side
        assert channels * rho == SOURCE_SAMPLES_PER_SYMBOL


@pytest.fixture(scope="module")
def encoder() -> nn.Module:
    return fill_by_rule(Encoder(8, 32, (2, 8, 32)), 1).eval().requires_grad_(False)


IMAGES = torch.rand(3, 3, 48, 32, generator=torch.Generator().manual_seed(5))
SNRS_DB = torch.tensor([-5.0, 0.0, 5.0])


@pytest.mark.parametrize("channels", [2, 8, 32])
def test_k_and_power_for_each_image(encoder: Encoder, channels: int) -> None:
    z = encode(encoder, IMAGES, SNRS_DB, channels)
    assert z.dtype == torch.complex64
    assert z.shape == (3, num_symbols(channels, (48, 32)))
    np.testing.assert_allclose(z.abs().double().square().mean(dim=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("channels", [2, 8, 32])
def test_batched_equals_alone(encoder: Encoder, channels: int) -> None:
    together = encode(encoder, IMAGES, SNRS_DB, channels)
    for i in range(3):
        alone = encode(encoder, IMAGES[i : i + 1], SNRS_DB[i : i + 1], channels)[0]
        torch.testing.assert_close(together[i], alone, rtol=0, atol=1e-5)


def test_snr_changes_the_symbols(encoder: Encoder) -> None:
    one = IMAGES[:1].expand(2, -1, -1, -1)
    low, high = encode(encoder, one, torch.tensor([-5.0, 5.0]), 8)
    assert float((low - high).abs().max()) > 1e-3


def test_a_lower_rate_sends_fewer_channels_of_the_same_shape(encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="channels: got 4"):
        encoder(IMAGES, SNRS_DB, 4)
    everything, default = encoder(IMAGES, SNRS_DB, 32), encoder(IMAGES, SNRS_DB)
    torch.testing.assert_close(everything, default)


def test_what_is_sent_is_the_prefix_of_the_bottleneck(encoder: Encoder) -> None:
    captured: list[torch.Tensor] = []
    hook = encoder.blocks[-1].register_forward_hook(lambda *args: captured.append(args[2]))
    try:
        sent = encoder(IMAGES, SNRS_DB, 8)
    finally:
        hook.remove()
    reals = torch.view_as_real(sent).reshape(3, 8, 3, 2)
    torch.testing.assert_close(reals, captured[0][:, :8])


@pytest.mark.parametrize("channels", [0, 1, 3])
def test_odd_bottlenecks_are_refused(channels: int) -> None:
    with pytest.raises(ValueError, match=f"symbol_channels: got {channels}"):
        Encoder(8, channels)


def test_gradients_reach_every_parameter_in_channels_last() -> None:
    network = Encoder(8, 8).to(memory_format=torch.channels_last)
    images = IMAGES.to(memory_format=torch.channels_last)
    target = torch.randn(3, num_symbols(8, (48, 32)), dtype=torch.complex64)
    (encode(network, images, SNRS_DB) - target).abs().square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
