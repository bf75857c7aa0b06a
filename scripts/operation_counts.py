# SPDX-License-Identifier: Apache-2.0
"""Operation counts of the paper's setting, computed from shapes without measurements.

    python scripts/operation_counts.py

Prints the tables of docs/differences.md. A multiplication and an addition count as two operations;
convolutions and matrix products are counted, forward and backward. Hours assume a device that
sustains 10^14 operations per second.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import vgg16

from receiver.deepjscc import Decoder
from receiver.generative import GenerativeDecoder, LatentDecoder
from receiver.stylegan2.generator import Generator
from transmitter.encoder import Encoder

WIDTH, SYMBOL_CHANNELS = 256, 2
SUSTAINED = 1e14
# Training images of an epoch: 8:1:1 of CelebA-HQ's 30,000 and of ImageNet's subset of 1,050,000.
CELEBA, IMAGENET = 24_000, 840_000
# ILO's steps, as in the preset "paper".
INVERSION_STEPS = 150
# Channels at 4, 8, ..., 512 pixels of the usual 512x512 face generators.
GENERATORS = {
    "multiplier 1": (512, 512, 512, 512, 256, 128, 64, 32),
    "multiplier 2": (512, 512, 512, 512, 512, 256, 128, 64),
}


def count(run: Callable[[], Tensor], *, backward: bool) -> float:
    """Count the operations of a call in 10^9, optionally with those of its gradients."""
    with FlopCounterMode(display=False) as counter:
        result = run()
        if backward:
            result.abs().sum().backward()
    return counter.get_total_flops() / 1e9


def both(run: Callable[[], Tensor]) -> tuple[float, float]:
    """Count the forward pass alone, and with the backward pass."""
    return count(run, backward=False), count(run, backward=True)


def rows() -> dict[str, tuple[float, float]]:
    """Return (forward, forward and backward) operations by name, for one image."""
    found = {}
    encoder, decoder = Encoder(WIDTH, SYMBOL_CHANNELS), Decoder(WIDTH, SYMBOL_CHANNELS)
    trunk = vgg16().features.requires_grad_(False)
    snr = torch.zeros(1)
    for side in (256, 512):
        image = torch.zeros(1, 3, side, side)
        shown = torch.zeros(1, 3, side, side, requires_grad=True)
        symbols = torch.zeros(1, SYMBOL_CHANNELS * side**2 // 512, dtype=torch.complex64)
        size = (side, side)
        found[f"encoder, {side}x{side}"] = both(lambda x=image: encoder(x, snr))
        found[f"DeepJSCC decoder, {side}x{side}"] = both(
            lambda z=symbols, s=size: decoder(z, snr, s)
        )
        found[f"VGG of LPIPS on the received image, {side}x{side}"] = both(lambda x=shown: trunk(x))
    symbols = torch.zeros(1, SYMBOL_CHANNELS * 512, dtype=torch.complex64)
    for name, widths in GENERATORS.items():
        generator = Generator(widths)
        latents = LatentDecoder(WIDTH, SYMBOL_CHANNELS, size=512, style_dim=512)
        generative = GenerativeDecoder(latents, generator)
        found[f"GenerativeJSCC decoder, 512x512, {name}"] = both(
            lambda g=generative: g(symbols, snr, (512, 512))
        )
        ws = torch.zeros(1, generator.num_ws, 512, requires_grad=True)
        found[f"generator alone, 512x512, {name}"] = both(lambda g=generator, w=ws: g.synthesis(w))
    return found


def training(found: dict[str, tuple[float, float]], side: int, decoder: str) -> float:
    """Return the training operations of one image, in 10^9; VGG runs backward on one side only."""
    size = f"{side}x{side}"
    original, received = found[f"VGG of LPIPS on the received image, {size}"]
    return found[f"encoder, {size}"][1] + found[decoder][1] + original + received


def inversion(found: dict[str, tuple[float, float]], generator: str) -> float:
    """Return the operations of one inversion, in 10^9: G, A(G), VGG on both; frozen weights."""
    forward = found["encoder, 512x512"][0] + found["DeepJSCC decoder, 512x512"][0]
    perceptual = 2 * found["VGG of LPIPS on the received image, 512x512"][1]
    step = 2 * forward + found[f"generator alone, 512x512, {generator}"][1] + perceptual
    return INVERSION_STEPS * step


def estimates(found: dict[str, tuple[float, float]]) -> dict[str, float]:
    """Return estimated operations in 10^9, by name."""
    celeba = training(found, 512, "DeepJSCC decoder, 512x512")
    imagenet = training(found, 256, "DeepJSCC decoder, 256x256")
    generative = training(found, 512, "GenerativeJSCC decoder, 512x512, multiplier 1")
    inverse = inversion(found, "multiplier 1")
    return {
        "DeepJSCC, CelebA-HQ: an epoch": CELEBA * celeba,
        "DeepJSCC, ImageNet: an epoch": IMAGENET * imagenet,
        "GenerativeJSCC, CelebA-HQ: an epoch": CELEBA * generative,
        "InverseJSCC: an image": inverse,
        "InverseJSCC: 128 images, 2 pairs, 2 ratios, 11 SNRs": 128 * 2 * 2 * 11 * inverse,
    }


def short(number: float) -> str:
    """Format a number with at least two digits and no exponent."""
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def main() -> None:
    with FakeTensorMode():
        found = rows()
    print("| 10^9 operations for one image | forwards | forwards and backwards |")
    print("| :-- | --: | --: |")
    for name, (forwards, both_ways) in found.items():
        print(f"| {name} | {forwards:,.0f} | {both_ways:,.0f} |")
    print()
    print("| | 10^15 operations | hours at 10^14 per second |")
    print("| :-- | --: | --: |")
    for name, total in estimates(found).items():
        print(f"| {name} | {short(total / 1e6)} | {short(total * 1e9 / SUSTAINED / 3600)} |")


if __name__ == "__main__":
    main()
