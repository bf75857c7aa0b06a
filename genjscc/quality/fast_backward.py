# SPDX-License-Identifier: Apache-2.0
"""Deep features with a fast backward pass on CPUs, shared by several losses.

The values equal those of `genjscc.quality.perceptual`. Two layers are replaced by equivalent ones
with a backward pass several times as fast on CPUs; together they halve the time of ST-LPIPS (Alex).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genjscc.quality.perceptual import STLPIPS, FeatureDistance


class PerceptualFeatures(nn.Module):
    """Frozen features and the ST-LPIPS distance computed from them.

    Shapes: images [B, 3, S, S] in [-1, 1], S even -> five maps [B, C, r, r].
    """

    def __init__(self) -> None:
        super().__init__()
        self.lpips = with_fast_backward(STLPIPS("alex"))

    def forward(self, images: Tensor) -> list[Tensor]:
        channels_last = images.contiguous(memory_format=torch.channels_last)
        return self.lpips.features((channels_last + 1) / 2)

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Return the ST-LPIPS of each pair, from features. -> [B] float32."""
        return self.lpips.distance(a, b)


def with_fast_backward(distance: FeatureDistance) -> FeatureDistance:
    """Replace a distance's slow layers in place; afterwards images must have even sides."""
    _replace_layers(distance.network.net)
    return distance.to(memory_format=torch.channels_last)


def _replace_layers(module: nn.Module) -> None:
    for name, child in module.named_children():
        if type(child).__name__ == "Downsample":
            setattr(module, name, _BlurThenStride(child))
        elif isinstance(child, nn.Conv2d) and child.in_channels == 3 and child.stride == (1, 1):
            setattr(module, name, _ImageConv(child))
        else:
            _replace_layers(child)


class _BlurThenStride(nn.Module):
    """A fixed depthwise blur of stride 1, followed by subsampling."""

    kernel: Tensor

    def __init__(self, downsample: Any) -> None:
        super().__init__()
        self.register_buffer("kernel", downsample.filt)
        self.pad, self.stride = downsample.pad, downsample.stride

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.kernel.to(x.dtype)
        blurred = F.conv2d(self.pad(x), kernel, groups=len(kernel))
        return blurred[..., :: self.stride, :: self.stride]


class _ImageConv(nn.Module):
    """A frozen convolution of an image with a large kernel.

    The gradient of three input channels fills only part of a vector register. It is computed
    for the four pixels of each 2x2 square at once: 12 channels of a convolution with stride 2,
    whose kernels are the four shifts of the flipped one.
    """

    weight: Tensor
    bias: Tensor
    shifted: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.padding, size = int(conv.padding[0]), conv.kernel_size[0]
        outputs, channels = conv.weight.shape[:2]
        flipped = conv.weight.detach().flip(2, 3).transpose(0, 1)
        shifted = flipped.new_zeros(channels, 2, 2, outputs, size + 1, size + 1)
        for row in (0, 1):
            for column in (0, 1):
                shifted[:, row, column, :, row : row + size, column : column + size] = flipped
        self.register_buffer("weight", conv.weight.detach())
        self.register_buffer("bias", cast("Tensor", conv.bias).detach())
        self.register_buffer("shifted", shifted.flatten(0, 2))

    def forward(self, images: Tensor) -> Tensor:
        dtype = images.dtype
        if torch.is_autocast_enabled(images.device.type):
            dtype = torch.get_autocast_dtype(images.device.type)
        weights = (self.weight.to(dtype), self.bias.to(dtype), self.shifted.to(dtype))
        return cast("Tensor", _ImageConvFunction.apply(images.to(dtype), *weights, self.padding))


class _ImageConvFunction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, shifted: Tensor, padding: int
    ) -> Tensor:
        ctx.save_for_backward(shifted)
        ctx.padding = weight.shape[2] - 1 - padding
        return F.conv2d(images, weight, bias, padding=padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (shifted,) = ctx.saved_tensors
        squares = F.conv2d(gradients[0], shifted, stride=2, padding=ctx.padding)
        return F.pixel_shuffle(squares, 2), None, None, None, None
