# SPDX-License-Identifier: Apache-2.0
"""Residual blocks of Fig. 4: RB, RBS (stride 2 down) and RBU (sub-pixel 2 up)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genjscc.layers.gdn import GDN


def _conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1)


def _subpixel3x3(in_channels: int, out_channels: int) -> nn.Sequential:
    """Build a sub-pixel upsampling by 2, initialised as nearest-neighbour scaling and convolution.

    With independent weights for the four pixels of a square, the output would start as a
    checkerboard that training has to remove first (Aitken et al., 2017).
    """
    conv = _conv3x3(in_channels, 4 * out_channels)
    with torch.no_grad():
        for parameter in (conv.weight, conv.bias):
            if parameter is not None:
                parameter.copy_(parameter[::4].repeat_interleave(4, dim=0))
    return nn.Sequential(conv, nn.PixelShuffle(2))


def _zero(*layers: nn.Module) -> None:
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)


class ResidualBlock(nn.Module):
    """RB. Shapes: [B, C_in, H, W] -> [B, C_out, H, W]; a 1x1 skip if the widths differ."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, out_channels)
        self.conv2 = _conv3x3(out_channels, out_channels)
        self.skip: nn.Module = (
            nn.Identity()
            if in_channels == out_channels
            else nn.Conv2d(in_channels, out_channels, 1)
        )

    def start_as_identity(self) -> None:
        """Make the block pass on its input, if the widths are equal."""
        _zero(self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = F.leaky_relu(self.conv1(x))
        y = F.leaky_relu(self.conv2(y)) + self.skip(x)
        return y


class ResidualBlockWithStride(nn.Module):
    """RBS. Shapes: [B, C_in, H, W] -> [B, C_out, H/2, W/2]; H and W even."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, out_channels, stride=2)
        self.conv2 = _conv3x3(out_channels, out_channels)
        self.gdn = GDN(out_channels)
        self.skip = nn.Conv2d(in_channels, out_channels, 1)

    def start_at_zero(self) -> None:
        """Make the block answer zero, with gradients that soon change that."""
        _zero(self.conv2, self.skip)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.gdn(self.conv2(F.leaky_relu(self.conv1(x))))
        # A 1x1 convolution with stride 2 reads every second pixel. Slicing first gives the same
        # result; the strided form crashes PyTorch's CPU backward in fp32 channels_last.
        y = y + self.skip(x[..., ::2, ::2])
        return y


class ResidualBlockUpsample(nn.Module):
    """RBU. Shapes: [B, C_in, H, W] -> [B, C_out, 2H, 2W]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.subpixel = _subpixel3x3(in_channels, out_channels)
        self.conv = _conv3x3(out_channels, out_channels)
        self.igdn = GDN(out_channels, inverse=True)
        self.skip = _subpixel3x3(in_channels, out_channels)

    def start_at_zero(self) -> None:
        """Make the block answer zero, with gradients that soon change that."""
        _zero(self.conv, self.skip[0])

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.igdn(self.conv(F.leaky_relu(self.subpixel(x)))) + self.skip(x)
        return y
