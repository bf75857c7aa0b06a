# SPDX-License-Identifier: Apache-2.0
"""The Fréchet distance of features as a loss for a generator.

The distance between Gaussians fitted to features of generated and real images (the metric FID,
with other networks) falls fastest if each generated image's features move along the optimal
transport map between the two Gaussians,

    y -> m_r + T (y - m_g),    T = C_r^(1/2) (C_r^(1/2) C_g C_r^(1/2))^(-1/2) C_r^(1/2).

With running moments m_g and C_g, the few images of one step get the gradient of the distance of
thousands. On a small budget, adversarial losses alone leave whole axes of such features too narrow
or too wide; moments measure this directly, and few real images cannot be overfitted by them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_AXES = 384
# Fraction of the mean variance added to all variances: regularises axes with few images.
_SHRINKAGE = 0.02
_REFRESH_EVERY = 20


class _Group(nn.Module):
    """One feature vector in the principal axes of the real features, in which C_r is diagonal."""

    mean: Tensor
    axes: Tensor
    variances: Tensor
    first: Tensor
    second: Tensor
    transport: Tensor
    distance: Tensor

    def __init__(self, features: int, kinds: int) -> None:
        super().__init__()
        size = min(features, _AXES)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("axes", torch.zeros(features, size))
        self.register_buffer("variances", torch.ones(size))
        self.register_buffer("first", torch.zeros(kinds, size))
        self.register_buffer("second", torch.eye(size).repeat(kinds, 1, 1))
        self.register_buffer("transport", torch.eye(size).repeat(kinds, 1, 1))
        self.register_buffer("distance", torch.zeros(kinds))

    def set_real(self, rows: Tensor) -> None:
        wide = rows.double()
        mean = wide.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov(wide.t()).reshape(len(mean), -1))
        size = len(self.variances)
        self.mean.copy_(mean)
        self.axes.copy_(vectors[:, -size:])
        self.variances.copy_(values[-size:].clamp(min=0))

    def project(self, rows: Tensor) -> Tensor:
        with torch.autocast(rows.device.type, enabled=False):
            return (rows.float() - self.mean) @ self.axes

    def note(self, kind: int, rows: Tensor, keep: float) -> None:
        y = self.project(rows)
        self.first[kind].lerp_(y.mean(0), 1 - keep)
        self.second[kind].lerp_(y.t() @ y / len(y), 1 - keep)

    def refresh(self, kind: int) -> None:
        """Compute T and the distance, as a fraction of the real variance, from the moments."""
        first, real = self.first[kind].double(), self.variances.double()
        generated = self.second[kind].double() - first[:, None] * first
        shrinkage = _SHRINKAGE * real.mean()
        ridge = shrinkage * torch.eye(len(real), dtype=real.dtype, device=real.device)
        root = (real + shrinkage).sqrt()
        values, vectors = torch.linalg.eigh(root[:, None] * (generated + ridge) * root)
        values = values.clamp(min=shrinkage.item() ** 2)
        inverse = (vectors * values.rsqrt()) @ vectors.t()
        self.transport[kind].copy_(root[:, None] * inverse * root)
        trace = (real + torch.diagonal(generated)).sum() + 2 * ridge.trace()
        distance = first.square().sum() + trace - 2 * values.sqrt().sum()
        self.distance[kind] = distance / real.sum()

    def loss(self, kind: int, rows: Tensor) -> Tensor:
        y = self.project(rows)
        mean = self.first[kind]
        centred = y.detach() - mean
        towards = mean + centred - centred @ self.transport[kind]
        # The moments lag: without a limit, overshooting features would be pulled ever harder.
        total = self.variances.sum()
        length = towards.norm(dim=1, keepdim=True) / total.sqrt()
        pull: Tensor = 2 * (y * towards / length.clamp(min=1)).sum(1) / total
        return pull


class FrechetMatching(nn.Module):
    """A loss that pulls features of generated images towards the distribution of real ones.

    Args:
        widths: features in each group; groups are matched separately.
        kinds: kinds of generated images, each with separate moments.
        keep: decay of the running moments per step of `note`.
    """

    def __init__(self, widths: Sequence[int], kinds: int, keep: float) -> None:
        super().__init__()
        self.groups = nn.ModuleList(_Group(width, kinds) for width in widths)
        self.widths, self.keep = list(widths), keep

    @torch.no_grad()
    def set_real(self, rows: Tensor) -> None:
        """Set the real features, [N, sum of widths], N at least 2."""
        for group, part in self._parts(rows):
            group.set_real(part)

    @torch.no_grad()
    def start(self, kind: int, rows: Tensor) -> None:
        """Set the first generated features, which should be many more than a step's."""
        for group, part in self._parts(rows):
            group.note(kind, part, 0.0)
            group.refresh(kind)

    @torch.no_grad()
    def note(self, kind: int, rows: Tensor, step: int) -> None:
        """Update the moments with a step's features; measure the distance at some steps."""
        for group, part in self._parts(rows):
            group.note(kind, part, self.keep)
            if step % _REFRESH_EVERY == 0:
                group.refresh(kind)

    def distance(self, kind: int) -> float:
        """Return the mean over groups, as a fraction of the real variance; 0 if equal."""
        groups = [group for group in self.groups if isinstance(group, _Group)]
        return sum(group.distance[kind].item() for group in groups) / len(groups)

    def forward(self, kind: int, rows: Tensor) -> Tensor:
        """Return values with the gradient of the distance. [B, sum of widths] -> [B]."""
        losses = [group.loss(kind, part) for group, part in self._parts(rows)]
        return torch.stack(losses).mean(0)

    def _parts(self, rows: Tensor) -> list[tuple[_Group, Tensor]]:
        groups = [group for group in self.groups if isinstance(group, _Group)]
        return list(zip(groups, torch.split(rows, self.widths, dim=1), strict=True))


def pooled(maps: Sequence[Tensor]) -> Tensor:
    """Concatenate the spatial means of feature maps: [B, C_i, h, w] each -> [B, sum of C_i]."""
    return torch.cat([level.float().mean((2, 3)) for level in maps], dim=1)
