# SPDX-License-Identifier: Apache-2.0
"""A chain of blocks in which the SNR-aware ones also get the channel condition."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from genjscc.layers.af import AFModule


class ConditionedSequence(nn.ModuleList):
    """Like nn.Sequential, handing `condition` [B, num_conditions] to each AF module.

    With `af` off the AF modules are left out, which makes a network blind to the channel: the
    ablation of what they bring. The other blocks keep their names.
    """

    def __init__(self, blocks: Iterable[nn.Module], *, af: bool = True) -> None:
        super().__init__(
            nn.Identity() if isinstance(block, AFModule) and not af else block for block in blocks
        )

    def forward(
        self, x: Tensor, condition: Tensor, start: int = 0, end: int | None = None
    ) -> Tensor:
        """Run the blocks from number `start` up to, without, number `end`."""
        for block in list(self)[start:end]:
            x = block(x, condition) if isinstance(block, AFModule) else block(x)
        return x
