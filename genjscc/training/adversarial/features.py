# SPDX-License-Identifier: Apache-2.0
"""Frozen features for a projected discriminator, with a backward pass that is cheap on CPUs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from genjscc.quality.efficientnet import efficientnet_lite

_FINEST_STRIDE = 4


class DiscriminatorFeatures(nn.Module):
    """The last map of EfficientNet-Lite1 at strides 4, 8, 16 and 32.

    Lite1, as in Sauer et al. (NeurIPS 2021), rather than the Lite0 of the metric FD-EffLite0:
    a network used in training must not measure the result.

    Args:
        side: images are scaled to side x side pixels, a multiple of 32.

    Shapes: images [B, 3, S, S] in [-1, 1] -> four maps [B, C, side / stride, side / stride].
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        network = efficientnet_lite(1)
        _fold(network, "_conv_stem", "_bn0")
        for block in network._blocks:
            for conv, norm in (
                ("_expand_conv", "_bn0"),
                ("_depthwise_conv", "_bn1"),
                ("_project_conv", "_bn2"),
            ):
                if hasattr(block, conv):
                    _fold(block, conv, norm)
        _fold(network, "_conv_head", "_bn1")
        self.head = network._conv_head
        self.side = side
        self.stem = nn.Sequential(network._conv_stem, nn.ReLU6())
        self.blocks = network._blocks
        self.requires_grad_(False).to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> list[Tensor]:
        size = (self.side, self.side)
        x = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        at_stride: dict[int, Tensor] = {}
        for block in self.blocks:
            x = block(x)
            at_stride[self.side // x.shape[-1]] = x
        return [x for stride, x in at_stride.items() if stride >= _FINEST_STRIDE]

    def deepest(self, maps: list[Tensor]) -> Tensor:
        """Apply the network's last layers to the coarsest map: -> [B, 1280, h, w]."""
        deep: Tensor = self.head(maps[-1]).relu()
        return deep


def _fold(module: nn.Module, conv: str, norm: str) -> None:
    """Fold a convolution and its normalisation into one convolution."""
    before, after = getattr(module, conv), getattr(module, norm)
    before.weight, before.bias = fuse_conv_bn_weights(
        before.weight,
        before.bias,
        after.running_mean,
        after.running_var,
        after.eps,
        after.weight,
        after.bias,
    )
    setattr(module, norm, nn.Identity())
