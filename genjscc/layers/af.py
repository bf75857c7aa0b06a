# SPDX-License-Identifier: Apache-2.0
"""Attention-feature (AF) module: one network for every SNR (Xu et al., TCSVT 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_OPEN = 2.0


class AFModule(nn.Module):
    """Learned scaling of each channel by a factor in (0, 1), from its mean and the channel state.

    Shapes: x [B, C, H, W], condition [B, num_conditions] -> [B, C, H, W]. The first condition
    is the SNR in dB, unscaled; further ones describe other parameters that vary per image.
    """

    def __init__(self, channels: int, num_conditions: int = 1) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels + num_conditions, channels)
        self.fc2 = nn.Linear(channels, channels)
        # Eight modules in a row that start at sigmoid(0) = 1/2 would pass 1/256 of the signal.
        # They start open, and equal for every SNR.
        nn.init.zeros_(self.fc2.weight)
        nn.init.constant_(self.fc2.bias, _OPEN)

    def factors(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return the scaling of each channel, [B, C, 1, 1]."""
        context = torch.cat([x.mean((2, 3)), condition.to(x.dtype)], dim=1)  # [B, C + conditions]
        factors: Tensor = torch.sigmoid(self.fc2(F.leaky_relu(self.fc1(context))))
        return factors[:, :, None, None]

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return x * self.factors(x, condition)
