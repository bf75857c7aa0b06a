# SPDX-License-Identifier: Apache-2.0
"""Generalised divisive normalisation (Ballé, Laparra, Simoncelli, ICLR 2016)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_PEDESTAL = 2.0**-36
_BETA_MIN = 1e-6
_GAMMA_INIT = 0.1


class _LowerBound(torch.autograd.Function):
    """max(x, bound) with a gradient that can still push a clipped value back up."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound  # type: ignore[attr-defined]
        return x.clamp(min=bound)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *grad_outputs: Tensor
    ) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        (grad,) = grad_outputs
        passes = (x >= ctx.bound) | (grad < 0)  # type: ignore[attr-defined]
        return grad * passes, None


def _lower_bounded(x: Tensor, bound: float) -> Tensor:
    if not torch.is_grad_enabled():  # the same, as an operation that TorchScript can hold
        return x.clamp(min=bound)
    bounded: Tensor = _LowerBound.apply(x, bound)
    return bounded


class GDN(nn.Module):
    """y_i = x_i / sqrt(beta_i + sum_j gamma_ij x_j^2); the inverse form multiplies instead.

    beta and gamma are stored as square roots, which keeps them non-negative and their
    gradients well scaled near zero.

    Shapes: [B, C, H, W] -> [B, C, H, W].
    """

    def __init__(self, channels: int, *, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        # Filled, not computed: on the meta device, where the sizes of a bundle are checked, tensor
        # arithmetic would import torch._dynamo, and a service would start more than a second later.
        gamma = torch.full((channels, channels), math.sqrt(_PEDESTAL))
        gamma.fill_diagonal_(math.sqrt(_GAMMA_INIT + _PEDESTAL))
        self.beta = nn.Parameter(torch.full((channels,), math.sqrt(1 + _PEDESTAL)))
        self.gamma = nn.Parameter(gamma)

    def forward(self, x: Tensor) -> Tensor:
        beta_bound = (_BETA_MIN + _PEDESTAL) ** 0.5
        beta = _lower_bounded(self.beta, beta_bound) ** 2 - _PEDESTAL
        gamma = _lower_bounded(self.gamma, _PEDESTAL**0.5) ** 2 - _PEDESTAL
        scale = F.conv2d(x * x, gamma[:, :, None, None], beta)
        return x * (torch.sqrt(scale) if self.inverse else torch.rsqrt(scale))
