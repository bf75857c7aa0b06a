# SPDX-License-Identifier: Apache-2.0
"""Attention block of Fig. 4 (Cheng et al., CVPR 2020, without the non-local part)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# sigmoid(-3) is 0.05.
_CLOSED = -3.0


class _Bottleneck(nn.Module):
    """1x1 C -> C/2, 3x3, 1x1 C/2 -> C, ReLU after each, residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.body = nn.Sequential(
            nn.Conv2d(channels, half, 1),
            nn.ReLU(),
            nn.Conv2d(half, half, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(half, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + x)


class AttentionBlock(nn.Module):
    """x + trunk(x) * sigmoid(mask(x)). Shapes: [B, C, H, W] -> [B, C, H, W]; C at least 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels < 2:
            raise ValueError(
                f"channels: got {channels}; must be at least 2 (the bottlenecks halve it)"
            )
        self.trunk = nn.Sequential(*[_Bottleneck(channels) for _ in range(3)])
        self.mask = nn.Sequential(
            *[_Bottleneck(channels) for _ in range(3)], nn.Conv2d(channels, channels, 1)
        )

    def start_near_identity(self) -> None:
        """Make the mask small: little of the trunk is added to the input."""
        bias = self.mask[-1].bias
        if isinstance(bias, nn.Parameter):
            nn.init.constant_(bias, _CLOSED)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.trunk(x) * torch.sigmoid(self.mask(x))
        return y
