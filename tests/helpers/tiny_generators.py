# SPDX-License-Identifier: Apache-2.0
"""StyleGAN2 generators for tests: the reference's fixture, small and large random ones."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from receiver.stylegan2.generator import Generator

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
NAME = "stylegan2_rosinality_32"


def reference_state() -> dict[str, Tensor]:
    """Return the fixture's state dict in rosinality's names, with weights by its rule."""
    shapes: Mapping[str, list[int]] = json.loads((FIXTURES / f"{NAME}.json").read_text())
    return {key: _by_rule(key, tuple(shape)) for key, shape in shapes.items()}


def reference_values() -> dict[str, Tensor]:
    """Return the reference implementation's outputs for these weights."""
    with np.load(FIXTURES / f"{NAME}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file}


def _by_rule(key: str, shape: tuple[int, ...]) -> Tensor:
    if key.endswith("kernel"):
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        return taps[:, None] * taps * 4
    seed = zlib.crc32(("rosinality-32/" + key).encode())
    draws = np.random.Generator(np.random.PCG64(seed)).standard_normal(shape, dtype=np.float32)
    a = torch.from_numpy(draws)
    if key.endswith("modulation.bias"):
        return 1 + 0.1 * a
    if key.endswith((".bias", "noise.weight")):
        return 0.1 * a
    return a / 0.01 if key.startswith("style.") else a


def basicsr_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert a rosinality state dict to BasicSR's format."""
    renamed = {}
    for key, value in state.items():
        name = key.replace("noise_", "noise") if key.startswith("noises.") else key
        name = name.replace("input.input", "constant_input.weight")
        name = name.replace(".conv.", ".modulated_conv.").replace(".noise.weight", ".weight")
        for ours, theirs in (
            ("style.", "style_mlp."),
            ("conv1.", "style_conv1."),
            ("convs.", "style_convs."),
        ):
            if name.startswith(ours):
                name = theirs + name.removeprefix(ours)
        renamed[name] = value
    return renamed


def tiny_generator(widths: Sequence[int] = (16, 12, 8, 8), style_dim: int = 16) -> Generator:
    """Return a generator with fixed random weights and noise strengths that matter."""
    torch.manual_seed(0)
    generator = Generator(widths, style_dim, 2)
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("noise.weight"):
                parameter.fill_(0.1)
        generator.latent_avg.copy_(generator.mean_latent())
    return generator.eval()


def ffhq_widths(size: int, channel_multiplier: int) -> list[int]:
    """Return the channels of the published face generators."""
    sides = [4 * 2**i for i in range(size.bit_length() - 2)]
    return [min(512, 16384 // side * channel_multiplier) for side in sides]
