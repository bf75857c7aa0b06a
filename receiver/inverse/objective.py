# SPDX-License-Identifier: Apache-2.0
"""Objective of eq. 12 and 13, one value per image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from genjscc.quality.perceptual import mse


class Distance(Protocol):
    """A perceptual distance in two steps (see `genjscc.quality.perceptual.FeatureDistance`)."""

    def features(self, images: Tensor) -> list[Tensor]:
        """Compute features: [B, 3, H, W] in [0, 1] -> maps [B, C, r, s]."""
        ...

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Return the distance of each pair, from features. -> [B]."""
        ...


class Terms(NamedTuple):
    """Terms of the objective of one image, or their weights."""

    mse: float
    """MSE of A(G) and the received image: lambda 1"""
    perceptual: float
    """perceptual distance of A(G) and the received image: lambda 2"""
    image_perceptual: float
    """perceptual distance of G and the received image: lambda 3 times lambda 4"""
    geodesic: float
    """geodesic distance of the latents: lambda 3 times lambda 5"""


@dataclass(frozen=True, eq=False)
class Observation:
    """The target of an inversion: x_hat [3, S, S] and its features, [1, C, r, s] each."""

    image: Tensor
    features: list[Tensor]


def observe(image: Tensor, distance: Distance | None) -> Observation:
    """Prepare a received image [3, S, S] in [0, 1] with its features as a target."""
    with torch.no_grad():
        features = [] if distance is None else distance.features(image[None])
    return Observation(image, [layer.float() for layer in features])


def objective(
    distance: Distance | None,
    images: Tensor,
    reproduced: Tensor,
    observed: Sequence[Observation],
    geodesics: Tensor,
    weights: Sequence[Terms],
) -> tuple[Tensor, Tensor]:
    """Compute eq. 12 with eq. 13 of each image and its terms; unweighted terms may be given as 0.

    Args:
        distance: perceptual distance; None if no image has a perceptual weight.
        images: G, [B, 3, S, S] in [0, 1].
        reproduced: A(G), of the same shape.
        observed: one per image.
        geodesics: GEO, [B].
        weights: one per image.

    Returns:
        total [B] and terms [B, 4] in the order of `Terms`.
    """
    none = torch.zeros(len(images), device=images.device)
    squared = mse(reproduced, torch.stack([one.image for one in observed]))
    columns = [squared, none, none, geodesics]
    outer = [i for i, w in enumerate(weights) if w.perceptual]
    inner = [i for i, w in enumerate(weights) if w.image_perceptual]
    if distance is not None and (outer or inner):
        # One pass of the network for both terms.
        features = distance.features(torch.cat([reproduced[outer], images[inner]]))
        chosen = [observed[i].features for i in (*outer, *inner)]
        targets = [torch.cat(layer) for layer in zip(*chosen, strict=True)]
        values = torch.split(distance.distance(features, targets), [len(outer), len(inner)])
        for column, which, part in zip((1, 2), (outer, inner), values, strict=True):
            at = torch.tensor(which, dtype=torch.long, device=none.device)
            columns[column] = none.index_put((at,), part)
    terms = torch.stack(columns, 1)
    return (terms * torch.tensor(weights, device=terms.device)).sum(1), terms


def geodesic(latents: Tensor, first: Tensor) -> Tensor:
    """Return GEO of eq. 13: the squared angle between two layers' latents, averaged over pairs.

    ILO's published code omits this term after the first stage, because of an indexing error.

    Args:
        latents: [B, L, D].
        first: int [B], first layer that takes part.

    Returns:
        [B], in squared radians.
    """
    apart = latents[:, :, None] - latents[:, None]
    together = latents[:, :, None] + latents[:, None]
    # Layers may be equal, and the gradient of a norm at 0 is nan.
    tiny = 1e-9
    sine = (apart.square().sum(-1) + tiny).sqrt()
    cosine = (together.square().sum(-1) + tiny).sqrt()
    squared = (2 * torch.atan2(sine, cosine)).square()
    layers = torch.arange(latents.shape[1], device=latents.device)
    taking_part = (layers >= first[:, None]).to(squared.dtype)
    pairs = taking_part[:, :, None] * taking_part[:, None]
    return (squared * pairs).sum((1, 2)) / pairs.sum((1, 2)).clamp(min=1)
