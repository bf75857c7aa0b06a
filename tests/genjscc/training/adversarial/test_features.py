# SPDX-License-Identifier: Apache-2.0
"""What a projected discriminator looks at."""

from __future__ import annotations

import pytest
import torch

from genjscc.quality.efficientnet import efficientnet_lite
from genjscc.training.adversarial.discriminator import Discriminator
from genjscc.training.adversarial.features import DiscriminatorFeatures


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    draws = torch.Generator().manual_seed(1)
    return torch.rand(4, 3, 64, 64, generator=draws) * 2 - 1


@pytest.fixture(scope="module")
def features() -> DiscriminatorFeatures:
    return DiscriminatorFeatures(64)


def test_the_deepest_map_is_that_of_the_shipped_network(
    features: DiscriminatorFeatures, images: torch.Tensor
) -> None:
    network = efficientnet_lite(1)
    with torch.no_grad():
        x = network._swish(network._bn0(network._conv_stem(images)))
        for block in network._blocks:
            x = block(x)
        deepest = features(images)[-1]
    assert (deepest - x).abs().max() < 1e-4 * x.abs().max()


def test_one_map_for_each_stride(features: DiscriminatorFeatures, images: torch.Tensor) -> None:
    maps = features(images)
    assert len(maps) == 4
    assert [x.shape[-1] for x in maps] == [16, 8, 4, 2]
    assert not any(p.requires_grad for p in features.parameters())


def test_images_of_any_size_are_scaled(features: DiscriminatorFeatures) -> None:
    assert [x.shape[-1] for x in features(torch.zeros(1, 3, 32, 32))] == [16, 8, 4, 2]


def test_every_level_reaches_the_finest_heads(
    features: DiscriminatorFeatures, images: torch.Tensor
) -> None:
    torch.manual_seed(0)
    maps = features(images)
    discriminator = Discriminator(maps, 64, pixels=False).eval()
    watched = [x.clone().requires_grad_() for x in maps]
    # A head's normalisation hides a sum from its inputs, its squares it does not.
    discriminator(images, watched)[0].square().sum().backward()
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in watched)


def test_projected_features_are_standardised(
    features: DiscriminatorFeatures, images: torch.Tensor
) -> None:
    maps = features(images)
    projected = Discriminator(maps, 64, pixels=False).projection(maps)
    for x in projected:
        assert 0.3 < x.std() < 3
        assert x.mean().abs() < 0.5
