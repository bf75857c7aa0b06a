# SPDX-License-Identifier: Apache-2.0
"""A chain of blocks in which the SNR-aware ones also get the channel condition."""

from __future__ import annotations

from torch import Tensor, nn

from genjscc.layers.af import AFModule


class ConditionedSequence(nn.ModuleList):
    """Like nn.Sequential, handing `condition` [B, num_conditions] to each AF module."""

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        for block in self:
            x = block(x, condition) if isinstance(block, AFModule) else block(x)
        return x
