# SPDX-License-Identifier: Apache-2.0
"""The DeepJSCC encoder f of Fig. 4a, after Tung and Gündüz (DeepWiVe, 2022).

x [3,H,W] ─ RBS ─ AF ─ RB ─ RBS ─ AF ─ Attn ─ RB ─ RBS ─ AF ─ RB ─ RBS ─ AF ─ Attn ─ z~
           c,H/2              c,H/4                  c,H/8          C_out,H/16
"""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor, nn

from channel.physics import normalize_power
from genjscc.layers import (
    AFModule,
    AttentionBlock,
    ConditionedSequence,
    ResidualBlock,
    ResidualBlockWithStride,
)
from genjscc.layers.bottleneck import STRIDE, symbols_from_bottleneck
from genjscc.layers.condition import condition, num_conditions
from genjscc.layers.graph import as_graph
from genjscc.layers.linear_path import BesideLinearPath, linear_analysis
from genjscc.layers.stages import Width, stage_widths
from genjscc.layers.tiles import Tiles, in_tiles, plan_tiles


class Encoder(nn.Module):
    """The encoder f: images and SNR to unnormalised symbols z~.

    Args:
        width: c, the channels of every stage but the last (the paper's is 256), or those at 1/2,
            1/4 and 1/8 of the image's side.
        symbol_channels: C_out, real channels of the bottleneck: rho = C_out/1536. Even.
        channel_steps: numbers of bottleneck channels that may be sent, if one network serves
            several bandwidth ratios (always a prefix); empty for the paper's network, one rate.
        af: False leaves the AF modules out.
        linear_path: True adds a linear path (`genjscc.layers.linear_path`), which the paper's
            network does not have.
    """

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
        if symbol_channels % 2 or symbol_channels < 2:
            raise ValueError(
                f"symbol_channels: got {symbol_channels}; must be even (two reals make a symbol)"
            )
        self.symbol_channels = symbol_channels
        self.channel_steps = channel_steps
        c2, c4, c8 = stage_widths(width)
        n = num_conditions(channel_steps)
        network = ConditionedSequence(
            [
                ResidualBlockWithStride(3, c2),
                AFModule(c2, n),
                ResidualBlock(c2, c2),
                ResidualBlockWithStride(c2, c4),
                AFModule(c4, n),
                AttentionBlock(c4),
                ResidualBlock(c4, c4),
                ResidualBlockWithStride(c4, c8),
                AFModule(c8, n),
                ResidualBlock(c8, c8),
                last := ResidualBlockWithStride(c8, symbol_channels),
                AFModule(symbol_channels, n),
                attention := AttentionBlock(symbol_channels),
            ],
            af=af,
        )
        self.blocks: ConditionedSequence | BesideLinearPath = network
        self.graph: nn.Module | None = None
        """the blocks as a graph, once the encoder is frozen"""
        if linear_path:
            last.start_at_zero()
            attention.start_near_identity()
            self.blocks = BesideLinearPath(network, linear_analysis(symbol_channels, n, af=af))

    def forward(self, images: Tensor, snr_db: Tensor, channels: int | None = None) -> Tensor:
        """Encode images to z~.

        Args:
            images: [B, 3, H, W] in [0, 1]; H and W multiples of 16.
            snr_db: [B], the SNR in dB that the encoder assumes.
            channels: number of bottleneck channels to send (None: all).

        Returns:
            complex64 [B, k], k = channels * H * W / 512, in the order channel, row, column,
            two adjacent reals forming one symbol (I, Q).
        """
        sent = self.symbol_channels if channels is None else channels
        blocks = self.blocks if self.graph is None else self.graph
        bottleneck = blocks(images, condition(snr_db, sent, self.channel_steps))
        return symbols_from_bottleneck(bottleneck[:, :sent])

    def tiles(self, images: Tensor, snr_db: Tensor, channels: int | None = None) -> Tiles:
        """Return the work of `forward` on large images, tile by tile, for inference."""
        sent = self.symbol_channels if channels is None else channels
        height, width = images.shape[-2:]
        plan = plan_tiles(self.blocks, (height, width), device_type=images.device.type)

        def work() -> Generator[None, None, Tensor]:
            conditions = condition(snr_db, sent, self.channel_steps)
            bottleneck = yield from in_tiles(plan, images, conditions)
            return symbols_from_bottleneck(bottleneck[:, :sent])

        return Tiles(plan.num_tiles, work())

    def freeze(self, device: torch.device) -> None:
        """Trace the blocks to TorchScript, in the current precision.

        Afterwards the encoder is fixed to inference on its current device.
        """
        images = torch.zeros(2, 3, STRIDE, STRIDE, device=device)
        snr_db = torch.zeros(2, device=device)
        conditions = condition(snr_db, self.symbol_channels, self.channel_steps)
        self.graph = as_graph(self.blocks if self.graph is None else self.graph, images, conditions)


def encode(encoder: Encoder, images: Tensor, snr_db: Tensor, channels: int | None = None) -> Tensor:
    """Compute the channel input z, the normalised f(x), for service, training and evaluation.

    Shapes and ranges as in `Encoder.forward`; each row has average power 1 (eq. 3).
    """
    return normalize_power(encoder(images, snr_db, channels))  # type: ignore[no-any-return]


def encode_tiles(
    encoder: Encoder, images: Tensor, snr_db: Tensor, channels: int | None = None
) -> Tiles:
    """Return the work of `encode` on large images, tile by tile, for inference."""
    tiles = encoder.tiles(images, snr_db, channels)

    def work() -> Generator[None, None, Tensor]:
        symbols = yield from tiles.work
        return normalize_power(symbols)  # type: ignore[no-any-return]

    return Tiles(tiles.count, work())
