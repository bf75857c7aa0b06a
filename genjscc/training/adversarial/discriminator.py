# SPDX-License-Identifier: Apache-2.0
"""A projected discriminator (Sauer et al., NeurIPS 2021) with augmentation, for small machines.

Small heads classify fixed features of several depths, mixed by fixed random convolutions, and
optionally the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

_PROJECTED = 64
_HIDDEN = 128
_PIXEL_WIDTH = 32
_SMALLEST_SIDE = 8
# The finest maps' heads classify patches, the others the whole image.
_PATCHES = 2
_CALIBRATION_FLOOR = 1e-3


class _Head(nn.Module):
    """Spectrally normalised convolutions that end in a map of logits."""

    def __init__(self, channels: int, side: int, *, whole: bool, first: int = _HIDDEN) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        wider = first
        while side > _SMALLEST_SIDE:
            layers += _block(channels, wider, 4, 2)
            channels, wider, side = wider, min(2 * wider, _HIDDEN), side // 2
        layers += _block(channels, _HIDDEN, 3, 1)
        if whole:  # logits for the whole image, not for patches
            layers += _block(_HIDDEN, _HIDDEN, 4, 2)
            layers.append(spectral_norm(nn.Conv2d(_HIDDEN, 1, side // 2)))
        else:
            layers.append(spectral_norm(nn.Conv2d(_HIDDEN, 1, 3)))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).float().flatten(1)  # type: ignore[no-any-return]


def _block(channels: int, out_channels: int, kernel: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, out_channels, kernel, stride, 1, bias=False)
    # Statistics of the batch, also in evaluation: real and generated batches pass separately.
    norm = nn.BatchNorm2d(out_channels, track_running_stats=False)
    return [spectral_norm(conv), norm, nn.LeakyReLU(0.2)]


class _Projection(nn.Module):
    """Fixed random convolutions that standardise each level and mix it with the deeper ones.

    Shapes: maps from fine to coarse -> maps of the same sides with `_PROJECTED` channels.
    """

    def __init__(self, calibration: list[Tensor]) -> None:
        super().__init__()
        for i, level in enumerate(calibration):
            channels = level.shape[1]
            deviation = level.float().std((0, 2, 3)) + _CALIBRATION_FLOOR
            weight = torch.randn(_PROJECTED, channels, device=level.device) / math.sqrt(channels)
            weight = weight / deviation
            self.register_buffer(f"weight{i}", weight[:, :, None, None])
            self.register_buffer(f"bias{i}", -(weight @ level.float().mean((0, 2, 3))))
            down = torch.randn(_PROJECTED, _PROJECTED, 3, 3, device=level.device)
            self.register_buffer(f"down{i}", down / (3 * math.sqrt(_PROJECTED)))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        mixed: list[Tensor] = []
        for i, level in reversed(list(enumerate(features))):
            weight, bias = getattr(self, f"weight{i}"), getattr(self, f"bias{i}")
            x = F.conv2d(level, weight.to(level.dtype), bias.to(level.dtype))
            if mixed:
                down = F.conv2d(mixed[0], getattr(self, f"down{i}").to(x.dtype), padding=1)
                down = F.interpolate(down, size=x.shape[2:], mode="bilinear", align_corners=False)
                x = (x + down) / math.sqrt(2)
            mixed.insert(0, x)
        return mixed


class Discriminator(nn.Module):
    """Discriminator with heads on features and, optionally, on the pixels.

    Args:
        calibration: features of some training images, for the projections' statistics.
        image_size: S.
        pixels: whether there is a head on the pixels.

    Shapes: images [B, 3, S, S] in [-1, 1] and their features -> one [B, logits] per head.
    """

    def __init__(self, calibration: list[Tensor], image_size: int, *, pixels: bool) -> None:
        super().__init__()
        self.projection = _Projection(calibration)
        self.heads = nn.ModuleList(
            _Head(_PROJECTED, level.shape[2], whole=i >= _PATCHES)
            for i, level in enumerate(calibration)
        )
        self.pixels = _Head(3, image_size, whole=False, first=_PIXEL_WIDTH) if pixels else None
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor, features: list[Tensor]) -> list[Tensor]:
        mixed = self.projection(features)
        logits = [head(level) for level, head in zip(mixed, self.heads, strict=True)]
        return logits if self.pixels is None else [*logits, self.pixels(images)]


def generator_loss(logits: list[Tensor]) -> Tensor:
    """Return the generator's loss of each image, averaged over heads. -> [B]."""
    return -torch.stack([head.mean(1) for head in logits]).mean(0)


def hinge(logits: list[Tensor], *, real: bool) -> Tensor:
    """Return the discriminator's hinge loss, averaged over heads. -> scalar."""
    sign = -1.0 if real else 1.0
    return torch.stack([F.relu(1 + sign * head).mean() for head in logits]).mean()


@dataclass(frozen=True)
class Augmentation:
    """Draws of a differentiable augmentation (Zhao et al., NeurIPS 2020), one row per image.

    An image and its reconstruction share their draws, which keeps their distance meaningful.
    """

    brightness: Tensor
    saturation: Tensor
    contrast: Tensor
    shift: Tensor
    """shift [B, 2] in halves of the image's side"""
    hole: Tensor
    """mask [B, 1, S, S]: 0 in the cut-out, 1 elsewhere"""

    @classmethod
    def draw(cls, batch: int, side: int, probability: float, generator: torch.Generator) -> Self:
        """Draw for a batch; each kind is applied to an image with the given probability."""

        def uniform(low: float, high: float, neutral: float, *shape: int) -> Tensor:
            value = low + (high - low) * torch.rand(batch, *shape, generator=generator)
            chosen = torch.rand(batch, *([1] * len(shape)), generator=generator) < probability
            return torch.where(chosen, value, neutral)

        pixels = uniform(-side / 8, side / 8, 0.0, 2).round()
        corner = uniform(-side / 4, side, 2.0 * side, 2)
        grid = torch.arange(side)
        distance = grid - corner[:, :, None]  # [B, 2, S]
        inside = (distance >= 0) & (distance < 3 * side / 8)
        hole = inside[:, 0, :, None] & inside[:, 1, None, :]
        return cls(
            brightness=uniform(-0.25, 0.25, 0.0, 1, 1, 1),
            saturation=uniform(0.5, 1.5, 1.0, 1, 1, 1),
            contrast=uniform(0.75, 1.25, 1.0, 1, 1, 1),
            shift=pixels * 2 / side,
            hole=(~hole)[:, None].float(),
        )

    def to(self, device: torch.device) -> Self:
        return self._map(lambda draws: draws.to(device))

    def first(self, count: int) -> Self:
        """Return the draws of the first images."""
        return self._map(lambda draws: draws[:count])

    def _map(self, function: Callable[[Tensor], Tensor]) -> Self:
        return type(self)(**{f.name: function(getattr(self, f.name)) for f in fields(self)})

    def apply(self, images: Tensor) -> Tensor:
        """Augment images. Shapes: [B, 3, S, S] in [-1, 1] -> the same."""
        grey = images.mean(1, keepdim=True)
        x = grey + (images - grey) * self.saturation + self.brightness
        level = x.mean((1, 2, 3), keepdim=True)
        x = level + (x - level) * self.contrast
        theta = torch.eye(2, 3, device=x.device).repeat(len(x), 1, 1)
        theta[:, :, 2] = self.shift
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
        return x * self.hole
