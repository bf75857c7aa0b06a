# SPDX-License-Identifier: Apache-2.0
"""The initialiser: a network that estimates latents from a received image.

    x_hat ─ area mean to 64 px ─ conv ─ 4 x (down, RB) ─ 4x4 features ─ linear ─┐
          └ area mean to 16 px ─────────────────────────────────────── linear ─ (+) ─ W+

Its output is in standard deviations from the mean latent. An inversion that starts here instead of
at the mean, as in the paper, has only a fraction of the distance left.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genjscc.bundles.config import GeneratorConfig
from genjscc.bundles.store import read_weights
from genjscc.errors import BundleError
from receiver.stylegan2.generator import Generator

START = "start.safetensors"
_LARGEST_SIDE = 64
_SMALLEST_SIDE = 4
_HEAD_CHANNELS = 64
LINEAR_SIDE = 16


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(F.silu(self.first(F.silu(x))))
        return x + y


class LatentStart(nn.Module):
    """A network from received images to W+ of one generator.

    Args:
        width: channels at full size; doubled after the first halving, quadrupled later.
        num_ws: number of the generator's layers.
        style_dim: size of w.
        side: side of the generator's images.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, width: int, num_ws: int, style_dim: int, side: int) -> None:
        super().__init__()
        self.num_ws, self.style_dim = num_ws, style_dim
        self.side = min(side, _LARGEST_SIDE)
        self.register_buffer("mean", torch.zeros(style_dim))
        self.register_buffer("spread", torch.ones(style_dim))
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1)]
        channels, side = width, self.side
        while side > _SMALLEST_SIDE:
            wider = min(2 * channels, 4 * width)
            layers += [nn.Conv2d(channels, wider, 4, stride=2, padding=1), _Residual(wider)]
            channels, side = wider, side // 2
        self.trunk = nn.Sequential(*layers, nn.SiLU(), nn.Conv2d(channels, _HEAD_CHANNELS, 1))
        self.head = nn.Linear(_HEAD_CHANNELS * side * side, num_ws * style_dim)
        self.linear = nn.Linear(3 * LINEAR_SIDE**2, num_ws * style_dim)
        for layer in (self.head, self.linear):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @classmethod
    def for_generator(cls, generator: Generator, spread: Tensor, width: int) -> LatentStart:
        """Build an untrained network, which returns the mean latent for any image."""
        start = cls(width, generator.num_ws, generator.style_dim, generator.size)
        start.mean.copy_(generator.latent_avg)
        start.spread.copy_(spread)
        return start

    def forward(self, images: Tensor) -> Tensor:
        """Estimate latents: [B, 3, S, S] in [0, 1] -> W+ [B, num_ws, style_dim], float32."""
        small = F.adaptive_avg_pool2d(images, self.side)
        deep: Tensor = self.head(F.silu(self.trunk(2 * small - 1)).flatten(1))
        flat: Tensor = self.linear(coarse(images))
        offsets = (deep.float() + flat.float()).reshape(-1, self.num_ws, self.style_dim)
        return self.mean + self.spread * offsets


def coarse(images: Tensor) -> Tensor:
    """Compute the linear path's input: [B, 3, S, S] in [0, 1] -> [B, 768], about -1 to 1."""
    return (2 * F.adaptive_avg_pool2d(images, LINEAR_SIDE) - 1).flatten(1)


def load_start(folder: Path, config: GeneratorConfig) -> LatentStart | None:
    """Load and verify the initialiser in a generator's bundle; None if there is none.

    Raises:
        BundleError: it is altered, or belongs to another generator.
    """
    if START not in config.files:
        return None
    path = folder / START
    tensors = read_weights(path, config)
    try:
        width = len(tensors["trunk.0.weight"])
        num_ws = 2 * len(config.widths)
        start = LatentStart(width, num_ws, config.style_dim, config.image_size)
        start.load_state_dict(tensors)
    except (KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BundleError(f"{path}: is not an initialiser of this generator: {reason}") from error
    return start.eval().requires_grad_(False)
