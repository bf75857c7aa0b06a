# SPDX-License-Identifier: Apache-2.0
"""The DeepJSCC decoder g of Fig. 4b, as Tung and Gündüz (DeepWiVe, 2022) build it.

z_hat ─ Attn ─ RB ─ RBU ─ AF ─ RB ─ RBU ─ AF ─ Attn ─ RB ─ RBU ─ AF ─ RB ─ RBU ─ AF ─ x_hat
       C_out,H/16   c,H/8          c,H/4                   c,H/2          3,H

x_hat passes a sigmoid, which keeps it in [0, 1]. Beside a linear path it is clamped instead, and
while training it is left as it is: a clamped pixel would get no gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from genjscc.layers import (
    AFModule,
    AttentionBlock,
    ConditionedSequence,
    ResidualBlock,
    ResidualBlockUpsample,
)
from genjscc.layers.bottleneck import bottleneck_from_symbols
from genjscc.layers.condition import condition, num_conditions
from genjscc.layers.graph import as_graph
from genjscc.layers.linear_path import BesideLinearPath, linear_synthesis
from genjscc.layers.stages import Width, stage_widths

# First blocks, at the resolution of the symbols.
_AT_BOTTLENECK = 2

Reconstruct = Callable[[Tensor, Tensor, tuple[int, int]], Tensor]
"""(symbols [B, k], SNRs [B] in dB, padded size) -> images [B, 3, H', W'] in [0, 1]"""


class Decoder(nn.Module):
    """g: received symbols and SNR to images. Arguments as `transmitter.encoder.Encoder`."""

    def __init__(
        self,
        width: Width,
        symbol_channels: int,
        channel_steps: tuple[int, ...] = (),
        *,
        af: bool = True,
        linear_path: bool = False,
    ) -> None:
        super().__init__()
        self.symbol_channels = symbol_channels
        self.channel_steps = channel_steps
        self.linear_path = linear_path
        c2, c4, c8 = stage_widths(width)
        n = num_conditions(channel_steps)
        network = ConditionedSequence(
            [
                AttentionBlock(symbol_channels),
                ResidualBlock(symbol_channels, symbol_channels),
                ResidualBlockUpsample(symbol_channels, c8),
                AFModule(c8, n),
                ResidualBlock(c8, c8),
                ResidualBlockUpsample(c8, c4),
                AFModule(c4, n),
                AttentionBlock(c4),
                ResidualBlock(c4, c4),
                ResidualBlockUpsample(c4, c2),
                AFModule(c2, n),
                ResidualBlock(c2, c2),
                ResidualBlockUpsample(c2, 3),
                AFModule(3, n),
            ],
            af=af,
        )
        self.blocks: nn.Module = network
        if linear_path:
            linear = linear_synthesis(symbol_channels, n, af=af)
            self.blocks = BesideLinearPath(
                network, linear, 3, shared=_AT_BOTTLENECK, inputs=symbol_channels
            )

    def forward(self, symbols: Tensor, snr_db: Tensor, size: tuple[int, int]) -> Tensor:
        """x_hat of the received symbols.

        Args:
            symbols: complex64 [B, k].
            snr_db: [B], the SNR in dB that the decoder is told.
            size: height and width of the (padded) images, multiples of 16.

        Returns:
            float [B, 3, H, W] in [0, 1]; while training beside a linear path, of any range.
        """
        return self._decode(self.blocks, symbols, snr_db, size)

    def frozen(self) -> Reconstruct:
        """`forward` for inference alone: its blocks as a graph.

        It is for the device and the precision of this moment.
        """
        device = next(self.parameters()).device
        bottleneck = torch.zeros(2, self.symbol_channels, 1, 1, device=device)
        told = condition(torch.zeros(2, device=device), self.symbol_channels, self.channel_steps)
        return partial(self._decode, as_graph(self.blocks, bottleneck, told))

    def _decode(
        self, blocks: nn.Module, symbols: Tensor, snr_db: Tensor, size: tuple[int, int]
    ) -> Tensor:
        bottleneck, channels = bottleneck_from_symbols(symbols, self.symbol_channels, size)
        x_hat: Tensor = blocks(bottleneck, condition(snr_db, channels, self.channel_steps)).float()
        if not self.linear_path:
            return torch.sigmoid(x_hat)
        return x_hat if self.training else x_hat.clamp(0, 1)
