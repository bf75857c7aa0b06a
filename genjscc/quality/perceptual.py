# SPDX-License-Identifier: Apache-2.0
"""Distortion terms: MSE on [0, 1] images and perceptual distances, by name."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from genjscc.errors import MissingExtraError, needs

PerceptualName = Literal[
    "st-lpips-alex", "st-lpips-vgg", "lpips-alex", "lpips-vgg", "lpips-squeeze"
]


class FeatureDistance(nn.Module):
    """A distance between deep features as LPIPS defines it (Zhang et al., CVPR 2018, eq. 1).

    It is split into `features` and `distance`, so that features of an image that is compared
    often are computed once.

    Args:
        network: a network of the lpips or the stlpips package.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.network.eval().requires_grad_(False)

    def features(self, images: Tensor) -> list[Tensor]:
        """Return each layer's feature maps [B, C, r, s]. Shape: [B, 3, H, W] in [0, 1]."""
        return list(self.network.net(self.network.scaling_layer(2 * images - 1)))

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Return the distance of each pair, from features. -> [B] float32."""
        total = torch.zeros(len(a[0]), device=a[0].device)
        for layer, x, y in zip(self.network.lins, a, b, strict=True):
            weight = layer.model[-1].weight
            difference = (_unit_length(x) - _unit_length(y)).square()
            total = total + (difference * weight).sum(1).mean((1, 2))
        return total

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the distance of each pair. Shapes: [B, 3, H, W] in [0, 1], twice -> [B]."""
        return self.distance(self.features(x), self.features(y))


def _unit_length(x: Tensor) -> Tensor:
    x = x.float()
    return x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)


class STLPIPS(FeatureDistance):
    """Shift-tolerant LPIPS (Ghildyal and Liu, ECCV 2022), with its package's weights.

    Its values are in the range of LPIPS, but it is not LPIPS: results are labelled "ST-LPIPS".
    """

    def __init__(self, trunk: Literal["alex", "vgg"]) -> None:
        with needs("inverse", "ST-LPIPS"), _unused_packages():
            from stlpips_pytorch import stlpips
        super().__init__(stlpips.LPIPS(net=trunk, variant="shift_tolerant", verbose=False))


@contextmanager
def _unused_packages() -> Iterator[None]:
    """Stub packages that stlpips-pytorch imports but never uses for this distance.

    A receiver needs none of them. torchvision has to be built for exactly this torch, and its
    import alone takes a receiver two seconds.
    """
    unused = {"torchvision": "models", "IPython": "embed", "torchsummary": "summary"}
    first = "stlpips_pytorch" not in sys.modules
    stubs = [name for name in unused if first and name not in sys.modules]
    for name in stubs:
        sys.modules[name] = ModuleType(name)
        setattr(sys.modules[name], unused[name], None)
    try:
        yield
    finally:
        for name in stubs:
            del sys.modules[name]


class LPIPS(FeatureDistance):
    """LPIPS (Zhang et al., CVPR 2018), the paper's perceptual distance.

    Its trunks are torchvision's ImageNet networks, fetched on first use.

    Raises:
        MissingExtraError: lpips is not installed, or the trunk's weights cannot be fetched.
    """

    def __init__(self, trunk: Literal["alex", "vgg", "squeeze"]) -> None:
        with needs("train", "LPIPS"):
            import lpips
        try:
            with warnings.catch_warnings():
                # lpips calls torchvision by its older names.
                warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
                network = lpips.LPIPS(net=trunk, verbose=False)
        except OSError as error:
            raise MissingExtraError(
                f"lpips-{trunk}: torchvision's weights cannot be fetched ({error}); copy them to "
                f"{Path(torch.hub.get_dir()) / 'checkpoints'}, or use st-lpips-alex or "
                "st-lpips-vgg, which need no download"
            ) from error
        super().__init__(network)


_PERCEPTUAL: dict[str, Callable[[], FeatureDistance]] = {
    "st-lpips-alex": lambda: STLPIPS("alex"),
    "st-lpips-vgg": lambda: STLPIPS("vgg"),
    "lpips-alex": lambda: LPIPS("alex"),
    "lpips-vgg": lambda: LPIPS("vgg"),
    "lpips-squeeze": lambda: LPIPS("squeeze"),
}


def trunk_is_cached(name: PerceptualName) -> bool:
    """Return whether torchvision's weights for an `lpips-*` are on this machine already."""
    kinds = {
        "lpips-alex": "AlexNet_Weights",
        "lpips-vgg": "VGG16_Weights",
        "lpips-squeeze": "SqueezeNet1_1_Weights",
    }
    try:
        from torchvision import models
    except ImportError:
        return False
    file = getattr(models, kinds[name]).DEFAULT.url.rpartition("/")[2]
    return Path(torch.hub.get_dir(), "checkpoints", file).exists()


def perceptual(name: PerceptualName) -> FeatureDistance:
    """Build a perceptual distance by name: module(x, y) -> [B], for images in [0, 1]."""
    return _PERCEPTUAL[name]()


class MeanDistance(nn.Module):
    """The mean of several perceptual distances.

    A decoder that is trained against a single network learns patterns which that network cannot
    see: they lower its distance and raise the others.

    Args:
        distances: one or more.
    """

    def __init__(self, distances: Iterable[FeatureDistance]) -> None:
        super().__init__()
        self.distances = nn.ModuleList(distances)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean distance of each pair. Shapes: [B, 3, H, W] in [0, 1], twice -> [B]."""
        return torch.stack([distance(x, y) for distance in self.distances]).mean(0)


def mse(x: Tensor, y: Tensor) -> Tensor:
    """Return the MSE of each image on the [0, 1] scale. [B, 3, H, W] twice -> [B]."""
    return torch.mean((x.float() - y.float()) ** 2, dim=(1, 2, 3))
