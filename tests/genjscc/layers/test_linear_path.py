# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from channel.physics import awgn, normalize_power
from genjscc.evaluation.linear import fit_linear, tiles_of
from genjscc.layers.linear_path import BesideLinearPath, start_as_transform
from receiver.deepjscc import Decoder
from tests.helpers.tiny_bundles import fill_by_rule
from transmitter.encoder import Encoder, encode

STEPS = (8, 32)
SNR = torch.full((4,), 30.0)
CONDITION = torch.zeros(2, 2)


def smooth_images(count: int, size: int, seed: int) -> torch.Tensor:
    coarse = torch.rand(count, 3, 3, 3, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size, mode="bilinear")


def pair_with_transform() -> tuple[Encoder, Decoder]:
    encoder = Encoder(8, 32, STEPS, linear_path=True)
    decoder = Decoder(8, 32, STEPS, linear_path=True)
    patches = torch.cat([tiles_of(image, 16) for image in smooth_images(100, 64, 1)])
    code = fit_linear(patches, 32)
    start_as_transform(
        encoder.blocks.linear,
        decoder.blocks.linear,
        mean=code.mean,
        components=code.components,
        variances=code.variances,
        fewest=8,
    )
    return encoder.eval(), decoder.eval()


def test_an_untrained_pair_sends_images_by_its_transform() -> None:
    encoder, decoder = pair_with_transform()
    images = smooth_images(4, 64, 2)
    with torch.no_grad():
        z = encode(encoder, images, SNR)
        x_hat = decoder(z, SNR, (64, 64))
    mse = (x_hat - images).square().mean()
    # The power is allotted by AF modules that training has yet to fit; the structure is there.
    assert mse < 0.5 * images.var()


def test_the_lowest_rate_has_the_power_of_a_codeword_on_average() -> None:
    encoder, _ = pair_with_transform()
    with torch.no_grad():
        z_tilde = encoder.blocks.linear[0](smooth_images(50, 64, 3))[:, :8]
    assert z_tilde.square().mean() == pytest.approx(0.5, rel=0.25)


def test_networks_start_close_to_their_linear_paths_and_every_block_learns() -> None:
    encoder, decoder = pair_with_transform()
    images = smooth_images(2, 64, 4)
    for blocks, x in ((encoder.blocks, images), (decoder.blocks, torch.rand(2, 32, 4, 4))):
        assert isinstance(blocks, BesideLinearPath)
        y, linear = blocks(x, CONDITION), blocks.linear(x, CONDITION)
        assert (y - linear).square().mean() < 0.02 * linear.square().mean()
        y.square().sum().backward()
    for block in (encoder.blocks.network[10], decoder.blocks.network[12]):
        assert block.skip is not None
        assert all(float(p.grad.abs().sum()) > 0 for p in block.skip.parameters())
    assert decoder.blocks.network[1].conv2.weight.grad.abs().sum() > 0


def test_the_path_can_be_trained_alone() -> None:
    encoder, _ = pair_with_transform()
    blocks = encoder.blocks
    assert isinstance(blocks, BesideLinearPath)
    images = smooth_images(2, 32, 4)
    together = blocks(images, CONDITION)
    blocks.linear_alone = True
    assert torch.equal(blocks(images, CONDITION), blocks.linear(images, CONDITION))
    assert not torch.equal(blocks(images, CONDITION), together)


def test_a_decoders_linear_path_follows_the_blocks_at_its_resolution() -> None:
    _, decoder = pair_with_transform()
    blocks = decoder.blocks
    assert isinstance(blocks, BesideLinearPath)
    y = torch.rand(2, 32, 2, 2, generator=torch.Generator().manual_seed(1))
    first = blocks.network[1](blocks.network[0](y))
    assert not torch.equal(first, y)
    # The rest of the network starts at zero.
    torch.testing.assert_close(blocks(y, CONDITION), blocks.linear(first, CONDITION))


def test_what_is_received_is_clamped_only_outside_of_training() -> None:
    _, decoder = pair_with_transform()
    noise = torch.randn(1, 64, dtype=torch.complex64, generator=torch.Generator().manual_seed(5))
    loud = awgn(normalize_power(noise), torch.tensor([-20.0]), noise)
    with torch.no_grad():
        served = decoder(loud, torch.zeros(1), (32, 32))
        trained = decoder.train()(loud, torch.zeros(1), (32, 32))
    assert served.min() >= 0
    assert served.max() <= 1
    torch.testing.assert_close(trained.clamp(0, 1), served)
    assert not torch.equal(trained, served)


def test_widths_may_differ_by_resolution_and_a_graph_computes_the_same() -> None:
    encoder = fill_by_rule(Encoder((4, 6, 8), 32, STEPS, linear_path=True), 1).eval()
    decoder = fill_by_rule(Decoder((4, 6, 8), 32, STEPS, linear_path=True), 2).eval()
    for network in (encoder, decoder):
        network.requires_grad_(False)
    images = smooth_images(2, 64, 6)
    z = encode(encoder, images, SNR[:2], 8)
    x_hat = decoder(z, SNR[:2], (64, 64))
    encoder.freeze(images.device)
    torch.testing.assert_close(encode(encoder, images, SNR[:2], 8), z)
    torch.testing.assert_close(decoder.frozen()(z, SNR[:2], (64, 64)), x_hat)
