# SPDX-License-Identifier: Apache-2.0
"""A network on one large picture, tile by tile, in bounded memory and with the same result.

All blocks but the AF modules look at a neighbourhood of a few positions: a tile with that margin
gives the same values as the whole map. AF modules look at the mean of a whole map. The blocks
are therefore computed segment by segment: each begins with at most one AF module, ends where the
resolution changes, and writes its map before the next segment starts. Memory holds the maps of two
segments and the features of one tile.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genjscc.layers.af import AFModule
from genjscc.layers.attention import AttentionBlock
from genjscc.layers.linear_path import BesideLinearPath
from genjscc.layers.residual import ResidualBlock, ResidualBlockUpsample, ResidualBlockWithStride
from genjscc.layers.sequence import ConditionedSequence

# Values of the widest feature map of a tile. On CPUs, smaller tiles compute more margin, and
# larger ones leave the cache and let other work wait. GPUs need more parallel work.
_CPU_VALUES, _GPU_VALUES = 2**21, 2**25
# Margins in positions of a block's input.
_REACH = {
    ResidualBlock: 2,
    ResidualBlockWithStride: 3,
    ResidualBlockUpsample: 2,
    AttentionBlock: 3,
    AFModule: 0,
    nn.Identity: 0,
}


@dataclass(frozen=True)
class _Segment:
    """Blocks after at most one AF module, of which only the last changes the resolution."""

    af: AFModule | None
    blocks: tuple[nn.Module, ...]

    @property
    def reach(self) -> int:
        return sum(_reach(block) for block in self.blocks)

    @property
    def down(self) -> int:
        return max([1, *(_scale(block)[0] for block in self.blocks)])

    @property
    def up(self) -> int:
        return max([1, *(_scale(block)[1] for block in self.blocks)])

    def tile(self, size: tuple[int, int], values: int) -> tuple[int, int]:
        """Return rows and columns of a tile, in positions of the input and in steps of `down`."""
        widths = [p.shape[0] for block in self.blocks for p in block.parameters() if p.ndim == 4]
        most = max(1, int((values / max([1, *widths])) ** 0.5))

        def even(length: int) -> int:  # a last tile of a few positions would be margin mostly
            return -(-length // (-(-length // most) * self.down)) * self.down

        return even(size[0]), even(size[1])

    def with_margin(self, start: int, end: int, most: int) -> tuple[int, int]:
        """Extend a range of input positions by the margin, in steps of `down`, within the map."""
        margin = -(-self.reach // self.down) * self.down
        return max(0, start - margin), min(most, end + margin)

    def scaled(self, position: int) -> int:
        """Return the output position of an input position."""
        return position // self.down * self.up


def _reach(block: nn.Module) -> int:
    if isinstance(block, nn.Conv2d | nn.ConvTranspose2d):  # of patches that do not overlap
        if block.kernel_size != block.stride:
            raise TypeError(f"not a convolution of patches: {block}")
        return 0
    return _REACH[type(block)]


def _scale(block: nn.Module) -> tuple[int, int]:
    if isinstance(block, nn.ConvTranspose2d):
        return 1, block.stride[0]
    if isinstance(block, nn.Conv2d):
        return block.stride[0], 1
    if isinstance(block, ResidualBlockWithStride):
        return 2, 1
    return 1, 2 if isinstance(block, ResidualBlockUpsample) else 1


def _segments(blocks: list[nn.Module]) -> list[_Segment]:
    segments: list[_Segment] = []
    af: AFModule | None = None
    own: list[nn.Module] = []

    def close() -> None:
        nonlocal af, own
        if af is not None or own:
            segments.append(_Segment(af, tuple(own)))
        af, own = None, []

    for block in blocks:
        if isinstance(block, AFModule):
            close()
            af = block
            continue
        own.append(block)
        if _scale(block) != (1, 1):
            close()
    close()
    return segments


@dataclass(frozen=True)
class Tiles:
    """A network's work on large images, in steps.

    Attributes:
        count: number of tiles.
        work: computes a tile with each step, and returns the network's output. Each step needs the
            same grad mode and autocast, which the caller sets around it.
    """

    count: int
    work: Generator[None, None, Tensor]


@dataclass(frozen=True)
class TilePlan:
    """The tiles of a network on maps of one size."""

    first: tuple[_Segment, ...]
    """segments before the linear path and the network part"""
    network: tuple[_Segment, ...]
    linear: tuple[_Segment, ...]
    """empty without a linear path"""
    values: int
    num_tiles: int


def plan_tiles(
    network: ConditionedSequence | BesideLinearPath,
    size: tuple[int, int],
    *,
    device_type: str = "cpu",
    values: int | None = None,
) -> TilePlan:
    """Divide a network's work on a picture into tiles.

    Args:
        network: blocks of an encoder or of a DeepJSCC decoder.
        size: height and width of the network's input, which all its resolutions divide.
        device_type: "cpu" or "cuda", for the default of `values`.
        values: number of values in the widest feature map of a tile.
    """
    if values is None:
        values = _CPU_VALUES if device_type == "cpu" else _GPU_VALUES
    if isinstance(network, BesideLinearPath):
        blocks = list(network.network)
        first = _segments(blocks[: network.shared])
        rest = _segments(blocks[network.shared :])
        linear = _segments(list(network.linear))
    else:
        first, rest, linear = [], _segments(list(network)), []
    count, after = _count(first, size, values)
    count += _count(rest, after, values)[0] + _count(linear, after, values)[0]
    return TilePlan(tuple(first), tuple(rest), tuple(linear), values, count)


def _count(
    segments: list[_Segment], size: tuple[int, int], values: int
) -> tuple[int, tuple[int, int]]:
    total = 0
    for segment in segments:
        rows, columns = segment.tile(size, values)
        total += -(-size[0] // rows) * -(-size[1] // columns)
        size = segment.scaled(size[0]), segment.scaled(size[1])
    return total, size


def in_tiles(plan: TilePlan, x: Tensor, condition: Tensor) -> Generator[None, None, Tensor]:
    """Compute a network for inference, one tile per step of the generator.

    The arguments and the generator's return value are those of the network's `forward`.
    """
    for segment in plan.first:
        x = yield from _run(segment, x, condition, plan.values)
    y = x
    for segment in plan.network:
        y = yield from _run(segment, y, condition, plan.values)
    if plan.linear:
        for segment in plan.linear:
            x = yield from _run(segment, x, condition, plan.values)
        y = y.add_(x) if y.dtype == x.dtype else y + x
    return y


def _run(
    segment: _Segment, x: Tensor, condition: Tensor, values: int
) -> Generator[None, None, Tensor]:
    height, width = x.shape[-2:]
    rows, columns = segment.tile((height, width), values)
    factors = None if segment.af is None else segment.af.factors(x, condition)
    whole: Tensor | None = None
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            first_row, last_row = segment.with_margin(top, top + rows, height)
            first, last = segment.with_margin(left, left + columns, width)
            tile = x[..., first_row:last_row, first:last]
            if factors is not None:
                tile = tile * factors
            for block in segment.blocks:
                tile = block(tile)
            if whole is None:
                whole = torch.empty(
                    (*tile.shape[:2], segment.scaled(height), segment.scaled(width)),
                    dtype=tile.dtype,
                    device=tile.device,
                    memory_format=torch.channels_last,
                )
            target = whole[
                ...,
                segment.scaled(top) : segment.scaled(top + rows),
                segment.scaled(left) : segment.scaled(left + columns),
            ]
            row, column = segment.scaled(top - first_row), segment.scaled(left - first)
            target.copy_(
                tile[..., row : row + target.shape[-2], column : column + target.shape[-1]]
            )
            yield
    if whole is None:
        raise ValueError(f"size: got {width}x{height}; must not be empty")
    return whole
