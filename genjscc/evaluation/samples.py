# SPDX-License-Identifier: Apache-2.0
"""Quality of a generator's unconditional samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genjscc.quality.frechet import Distances, Reference
from receiver.stylegan2.generator import Generator

_BATCH = 50


@dataclass(frozen=True)
class SampleSet:
    """Distances of one set of samples from the reference."""

    distances: Distances
    noise_change: float
    """root mean square change of an image in [0, 1] when its noise maps are drawn again"""


@torch.no_grad()
def draw(generator: Generator, count: int, *, psi: float, seed: int) -> tuple[Tensor, Tensor]:
    """Draw images [count, 3, S, S] in [0, 1], and the same latents with other noise maps.

    Args:
        generator: a generator of S x S images.
        count: number of images.
        psi: truncation towards the mean latent; 1: none.
        seed: seed of latents and noise.
    """
    draws = torch.Generator().manual_seed(seed)
    device = next(generator.parameters()).device
    z = torch.randn(count, generator.style_dim, generator=draws).to(device)
    latents = generator.truncate(generator.mapping(z), psi)
    images = (
        generator.synthesis(latents, [m.to(device) for m in generator.random_noise(count, draws)])
        for _ in range(2)
    )
    first, second = (((x + 1) / 2).clamp(0, 1) for x in images)
    return first, second


def compare_samples(
    generator: Generator,
    features: nn.Module,
    reference: Reference,
    *,
    count: int,
    psi: float,
    seed: int,
    note: Callable[[int], None] = lambda _: None,
) -> SampleSet:
    """Draw a set of samples and compare it with the reference.

    Args:
        generator: a generator on its device.
        features: [B, 3, S, S] -> [B, F].
        reference: features of real images.
        count: number of samples.
        psi: truncation.
        seed: seed of the set, from which the seeds of its batches are derived.
        note: called with the number of samples so far.
    """
    found: list[Tensor] = []
    change = 0.0
    for start in range(0, count, _BATCH):
        size = min(_BATCH, count - start)
        first, second = draw(generator, size, psi=psi, seed=seed * 2**20 + start)
        found.append(features(first))
        change += (first - second).square().mean((1, 2, 3)).sqrt().sum().item()
        note(start + size)
    return SampleSet(reference.compare(torch.cat(found)), change / count)


def features_of(features: nn.Module, images: Sequence[Tensor]) -> Tensor:
    """Compute features [N, F] of images [3, S, S] in [0, 1]."""
    return torch.cat(
        [features(torch.stack([*images[i : i + _BATCH]])) for i in range(0, len(images), _BATCH)]
    )
