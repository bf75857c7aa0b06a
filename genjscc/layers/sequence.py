# SPDX-License-Identifier: Apache-2.0
"""A sequence of blocks in which the SNR-aware ones also receive the channel condition."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from genjscc.layers.af import AFModule


class ConditionedSequence(nn.ModuleList):
    """An nn.Sequential that passes `condition` [B, num_conditions] to each AF module.

    With `af` off the AF modules are left out, which makes the network unaware of the channel: an
    ablation. The other blocks keep their names.
    """

    def __init__(self, blocks: Iterable[nn.Module], *, af: bool = True) -> None:
        super().__init__(
            nn.Identity() if isinstance(block, AFModule) and not af else block for block in blocks
        )

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        for block in self:
            x = block(x, condition) if isinstance(block, AFModule) else block(x)
        return x
