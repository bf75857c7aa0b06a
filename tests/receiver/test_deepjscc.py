# SPDX-License-Identifier: Apache-2.0
"""The decoder, and encoder, channel and decoder in one."""

from __future__ import annotations

import pytest
import torch

from channel.physics import awgn
from genjscc.layers.bottleneck import num_symbols
from receiver.deepjscc import Decoder
from receiver.forward import ForwardOperator
from tests.helpers.tiny_bundles import fill_by_rule
from transmitter.encoder import Encoder, encode

STEPS = (2, 8, 32)
SIZE = (48, 32)
SNRS_DB = torch.tensor([-5.0, 0.0, 5.0])


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    made = fill_by_rule(Decoder(8, 32, STEPS), 2).eval().requires_grad_(False)
    assert isinstance(made, Decoder)
    return made


def symbols(channels: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(channels)
    k = num_symbols(channels, SIZE)
    return torch.randn(3, k, dtype=torch.complex64, generator=generator)


@pytest.mark.parametrize("channels", STEPS)
def test_images_are_in_range_and_batched_equals_alone(decoder: Decoder, channels: int) -> None:
    received = symbols(channels)
    together = decoder(received, SNRS_DB, SIZE)
    assert together.shape == (3, 3, *SIZE)
    assert 0 <= float(together.min()) < float(together.max()) <= 1
    for i in range(3):
        alone = decoder(received[i : i + 1], SNRS_DB[i : i + 1], SIZE)[0]
        torch.testing.assert_close(together[i], alone, rtol=0, atol=1e-5)


def test_snr_and_symbols_change_the_image(decoder: Decoder) -> None:
    received = symbols(8)[:1].repeat(2, 1)
    low, high = decoder(received, torch.tensor([-5.0, 5.0]), SIZE)
    assert float((low - high).abs().max()) > 1e-3
    received[1, 0] += 3
    one, other = decoder(received, torch.tensor([0.0, 0.0]), SIZE)
    assert float((one - other).abs().max()) > 1e-3


def test_symbols_of_no_rate_are_refused(decoder: Decoder) -> None:
    with pytest.raises(ValueError, match="channels: got 4"):
        decoder(symbols(4), SNRS_DB, SIZE)


@pytest.mark.parametrize("channels", STEPS)
def test_forward_operator_is_its_three_parts(channels: int) -> None:
    encoder, decoder = Encoder(8, 32, STEPS), Decoder(8, 32, STEPS)
    fill_by_rule(encoder, 1)
    fill_by_rule(decoder, 2)
    images = torch.rand(3, 3, *SIZE)
    noise = torch.randn(3, num_symbols(32, SIZE), dtype=torch.complex64)
    with torch.no_grad():
        z = encode(encoder, images, SNRS_DB, channels)
        expected = decoder(awgn(z, SNRS_DB, noise[:, : z.shape[1]]), SNRS_DB, SIZE)
        out = ForwardOperator(encoder, decoder)(images, SNRS_DB, noise, channels)
    torch.testing.assert_close(out, expected)


def test_gradients_cross_the_channel_in_channels_last() -> None:
    operator = ForwardOperator(Encoder(8, 8), Decoder(8, 8)).to(memory_format=torch.channels_last)
    images = torch.rand(3, 3, *SIZE).to(memory_format=torch.channels_last).requires_grad_()
    noise = torch.randn(3, num_symbols(8, SIZE), dtype=torch.complex64)
    operator(images, SNRS_DB, noise).square().sum().backward()
    assert images.grad is not None
    assert bool((images.grad != 0).any())
    for name, parameter in operator.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
