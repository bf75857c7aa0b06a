# SPDX-License-Identifier: Apache-2.0
"""Distances between a set of images and a reference set: FD-EffLite0, density and coverage.

FD-EffLite0 is the Fréchet distance (Heusel et al., NeurIPS 2017) between Gaussians fitted to
pooled features of an ImageNet EfficientNet-Lite0 at 128x128 pixels. It is computed like FID but is
not FID: the network, and so the values, differ. It falls with the number of samples, so that
values compare only at equal sample counts. Density and coverage: Naeem et al., ICML 2020.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genjscc.errors import InvalidInputError, MissingExtraError
from genjscc.quality.efficientnet import efficientnet_lite

FID_FEATURES = 2048
_SIDE = 128
_NEIGHBOURS = 5


class EffLite0Features(nn.Module):
    """Pooled features of EfficientNet-Lite0, with its package's weights (Apache-2.0)."""

    def __init__(self) -> None:
        super().__init__()
        self.network = efficientnet_lite(0)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Compute features. Shapes: [B, 3, H, W] in [0, 1] (clamped) -> [B, 1280] float32."""
        x = 2 * images.clamp(0, 1) - 1
        x = F.interpolate(x, size=(_SIDE, _SIDE), mode="bilinear", align_corners=False)
        net = self.network
        # bfloat16 in any context: a reported value must not depend on the training precision.
        with torch.autocast(x.device.type, torch.bfloat16):
            y = x.contiguous(memory_format=torch.channels_last)
            y = net._swish(net._bn0(net._conv_stem(y)))
            for block in net._blocks:
                y = block(y)
            y = net._bn1(net._conv_head(y))
            pooled: Tensor = y.float().relu().mean((2, 3))
        return pooled


@dataclass(frozen=True)
class Distances:
    """Distances of a sample set from a reference set."""

    frechet: float
    """FD-EffLite0; lower is closer"""
    density: float
    """density of reference images around the samples; about 1 for equal distributions"""
    coverage: float
    """fraction of reference images with a sample nearer than their 5th neighbour"""


class Reference:
    """Features of the reference images with their precomputed statistics.

    Args:
        features: [M, 1280], features of the reference images.
        neighbourhood: number of reference images (the first ones) for density and coverage.
    """

    def __init__(self, features: Tensor, neighbourhood: int = 1000) -> None:
        self.mean, self.covariance = moments(features)
        self.centres = features[:neighbourhood]
        if len(self.centres) <= _NEIGHBOURS:
            raise InvalidInputError(
                "reference", f"got {len(self.centres)} images, which are too few"
            )
        mutual = torch.cdist(self.centres, self.centres)
        # Each reference image is its own nearest neighbour.
        self.radii = mutual.kthvalue(_NEIGHBOURS + 1, dim=1).values

    def compare(self, features: Tensor) -> Distances:
        """Compare samples [N, 1280]; coverage needs about as many as the neighbourhood."""
        mean, covariance = moments(features)
        inside = torch.cdist(self.centres, features) < self.radii[:, None]
        return Distances(
            frechet=frechet_distance(mean, covariance, self.mean, self.covariance),
            density=inside.sum().item() / (_NEIGHBOURS * len(features)),
            coverage=inside.any(1).float().mean().item(),
        )


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean [F] and covariance [F, F] in float64. Shape: [N, F], N at least 2."""
    if len(features) < 2:
        raise InvalidInputError(
            "features", f"got {len(features)} samples; must be at least 2 for a covariance"
        )
    wide = features.double()
    return wide.mean(0), torch.cov(wide.t())


def frechet_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """Return the squared Fréchet distance of Gaussians: |a-b|^2 + tr(A + B - 2 (A B)^(1/2))."""
    # A^(1/2) B A^(1/2) has the eigenvalues of A B and is symmetric: stable and real.
    values, vectors = torch.linalg.eigh(cov_a)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.t()
    spectrum = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0)
    trace = cov_a.trace() + cov_b.trace() - 2 * spectrum.sqrt().sum()
    distance = float((mean_a - mean_b).square().sum() + trace)
    if not math.isfinite(distance):
        raise InvalidInputError("features", "all must be finite")
    return distance


class SetDistance(Protocol):
    """A distance between a set of images and a reference set."""

    def set_reference(self, batches: Iterable[Tensor]) -> None:
        """Set the reference: batches [B, 3, H, W] in [0, 1]."""
        ...

    def to_reference(self, batches: Iterable[Tensor]) -> float:
        """Return the distance of images from the reference."""
        ...


class EffLite0Distance:
    """The distance FD-EffLite0 between sets of images."""

    def __init__(self, features: nn.Module | None = None) -> None:
        self._features = features or EffLite0Features()
        self._reference: tuple[Tensor, Tensor] | None = None

    def set_reference(self, batches: Iterable[Tensor]) -> None:
        self._reference = moments(extract(self._features, batches))

    def to_reference(self, batches: Iterable[Tensor]) -> float:
        if self._reference is None:
            raise RuntimeError("no reference set")
        return frechet_distance(*moments(extract(self._features, batches)), *self._reference)


class InceptionDistance:
    """FID (Heusel et al., NeurIPS 2017), computed by torchmetrics.

    Args:
        features: network on uint8 images [B, 3, H, W] -> [B, F] with `num_features`; None:
            Inception v3, for which torch-fidelity fetches the weights on first use.

    Raises:
        MissingExtraError: torch-fidelity is not installed, or the weights cannot be fetched.
    """

    def __init__(self, features: nn.Module | None = None) -> None:
        try:
            from torchmetrics.image.fid import FrechetInceptionDistance

            self._distance = FrechetInceptionDistance(
                features or FID_FEATURES, reset_real_features=False
            )
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                "FID needs torchmetrics and torch-fidelity: pip install 'genjscc[fid]'"
            ) from error
        except OSError as error:
            raise MissingExtraError(
                f"FID: the weights of Inception v3 cannot be fetched ({error}); copy them to "
                f"{Path(torch.hub.get_dir()) / 'checkpoints'}, or use FD-EffLite0, which needs "
                "no download"
            ) from error
        self._distance.set_dtype(torch.float64)

    def set_reference(self, batches: Iterable[Tensor]) -> None:
        self._distance.reset_real_features = True
        self._distance.reset()
        self._distance.reset_real_features = False
        self._update(batches, real=True)

    def to_reference(self, batches: Iterable[Tensor]) -> float:
        self._distance.reset()
        self._update(batches, real=False)
        return float(self._distance.compute())

    def _update(self, batches: Iterable[Tensor], *, real: bool) -> None:
        for batch in batches:
            self._distance.update((batch * 255).round().to(torch.uint8), real=real)


def extract(features: nn.Module, batches: Iterable[Tensor]) -> Tensor:
    """Compute features [N, F] of batches of images [B, 3, H, W] in [0, 1]."""
    return torch.cat([features(batch) for batch in batches])
