# SPDX-License-Identifier: Apache-2.0
"""Conversion between the bottleneck's feature maps and complex symbols."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

STRIDE = 16
"""pixels of the image, along each side, per position of the bottleneck"""

SOURCE_SAMPLES_PER_SYMBOL = 3 * STRIDE**2 * 2
"""denominator of rho = channels / 1536: 3 * 16^2 samples a position, two reals a symbol"""


def num_symbols(channels: int, size: tuple[int, int]) -> int:
    """Return k = channels * H * W / 512 complex symbols, for a padded image of H x W pixels."""
    height, width = size
    return channels * (height // STRIDE) * (width // STRIDE) // 2


def symbols_from_bottleneck(bottleneck: Tensor) -> Tensor:
    """Flatten channel, row, column; two reals make (I, Q). [B, C, h, w] -> complex64 [B, k]."""
    reals = bottleneck.float().reshape(len(bottleneck), -1, 2)
    return torch.view_as_complex(reals.contiguous())


def bottleneck_from_symbols(
    symbols: Tensor, symbol_channels: int, size: tuple[int, int]
) -> tuple[Tensor, int]:
    """Undo the flattening; channels that were not sent are zero.

    Args:
        symbols: complex64 [B, k].
        symbol_channels: C_out of the decoder.
        size: height and width of the padded image, multiples of 16.

    Returns:
        float32 [B, C_out, H/16, W/16], and the number of channels that were sent.

    Raises:
        ValueError: k does not fit an image of this size.
    """
    rows, columns = size[0] // STRIDE, size[1] // STRIDE
    reals = torch.view_as_real(symbols).flatten(1)  # [B, 2k]
    channels, rest = divmod(reals.shape[1], rows * columns)
    if rest or not 0 < channels <= symbol_channels:
        raise ValueError(
            f"symbols: got k = {symbols.shape[1]}; a {size[0]}x{size[1]} image has at most "
            f"{num_symbols(symbol_channels, size)}, in steps of {rows * columns}/2"
        )
    sent = reals.reshape(len(symbols), channels, rows, columns)
    return F.pad(sent, (0, 0, 0, 0, 0, symbol_channels - channels)), channels
