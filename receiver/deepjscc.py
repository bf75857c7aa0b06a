# SPDX-License-Identifier: Apache-2.0
"""The DeepJSCC decoder g of Fig. 4b, after Tung and Gündüz (DeepWiVe, 2022).

z_hat ─ Attn ─ RB ─ RBU ─ AF ─ RB ─ RBU ─ AF ─ Attn ─ RB ─ RBU ─ AF ─ RB ─ RBU ─ AF ─ x_hat
       C_out,H/16   c,H/8          c,H/4                   c,H/2          3,H

A sigmoid keeps x_hat in [0, 1]. With a linear path it is clamped instead, except in training,
where a clamped pixel would get no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
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
from genjscc.layers.tiles import Tiles, in_tiles, plan_tiles

# First blocks, at the resolution of the symbols.
_AT_BOTTLENECK = 2

Reconstruct = Callable[[Tensor, Tensor, tuple[int, int]], Tensor]
"""(symbols [B, k], SNRs [B] in dB, padded size) -> images [B, 3, H', W'] in [0, 1]"""


class Decoder(nn.Module):
    """The decoder g: received symbols and SNR to images, with the encoder's arguments."""

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
                attention := AttentionBlock(symbol_channels),
                first := ResidualBlock(symbol_channels, symbol_channels),
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
                last := ResidualBlockUpsample(c2, 3),
                AFModule(3, n),
            ],
            af=af,
        )
        self.blocks: ConditionedSequence | BesideLinearPath = network
        if linear_path:
            attention.start_near_identity()
            first.start_as_identity()
            last.start_at_zero()
            linear = linear_synthesis(symbol_channels, n, af=af)
            self.blocks = BesideLinearPath(network, linear, shared=_AT_BOTTLENECK)

    def forward(self, symbols: Tensor, snr_db: Tensor, size: tuple[int, int]) -> Tensor:
        """Decode received symbols to x_hat.

        Args:
            symbols: complex64 [B, k].
            snr_db: [B], the SNR in dB that the decoder assumes.
            size: height and width of the (padded) images, multiples of 16.

        Returns:
            float [B, 3, H, W] in [0, 1]; in training with a linear path, of any range.
        """
        return self._decode(self.blocks, symbols, snr_db, size)

    def frozen(self) -> Reconstruct:
        """Return `forward` for inference only, with its blocks traced to TorchScript.

        It is fixed to the current device and precision.
        """
        device = next(self.parameters()).device
        bottleneck = torch.zeros(2, self.symbol_channels, 1, 1, device=device)
        conditions = condition(
            torch.zeros(2, device=device), self.symbol_channels, self.channel_steps
        )
        return partial(self._decode, as_graph(self.blocks, bottleneck, conditions))

    def _decode(
        self, blocks: nn.Module, symbols: Tensor, snr_db: Tensor, size: tuple[int, int]
    ) -> Tensor:
        bottleneck, channels = bottleneck_from_symbols(symbols, self.symbol_channels, size)
        return self._images(blocks(bottleneck, condition(snr_db, channels, self.channel_steps)))

    def tiles(self, symbols: Tensor, snr_db: Tensor, size: tuple[int, int]) -> Tiles:
        """Return the work of `forward` on large images, tile by tile, for inference."""
        bottleneck, channels = bottleneck_from_symbols(symbols, self.symbol_channels, size)
        conditions = condition(snr_db, channels, self.channel_steps)
        height, width = bottleneck.shape[-2:]
        plan = plan_tiles(self.blocks, (height, width), device_type=bottleneck.device.type)

        def work() -> Generator[None, None, Tensor]:
            return self._images((yield from in_tiles(plan, bottleneck, conditions)))

        return Tiles(plan.num_tiles, work())

    def _images(self, x_hat: Tensor) -> Tensor:
        x_hat = x_hat.float()
        if not self.linear_path:
            return torch.sigmoid(x_hat)
        return x_hat if self.training else x_hat.clamp(0, 1)
