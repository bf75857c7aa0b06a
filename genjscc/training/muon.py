# SPDX-License-Identifier: Apache-2.0
"""Muon: momentum with orthogonalised steps, for the convolutions of a network (Jordan, 2024).

Each step of a weight matrix has equal singular values, so that directions with small gradients
are learnt as fast as those with large ones. Biases, scales and small matrices stay with Adam.
`torch.optim.Muon` takes two-dimensional parameters only and repeats its work on every process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import all_reduce, get_rank, get_world_size, is_available, is_initialized

from genjscc.layers.precision import arithmetic

# Coefficients of the quintic iteration and their number: singular values end within 0.7 to 1.2.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ITERATIONS = 5
_FEWEST_CHANNELS = 16


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum over the weights of convolutions.

    The processes of a distributed run share the orthogonalisation out among themselves; their
    gradients must be equal, as `DistributedDataParallel` leaves them.

    Args:
        groups: of parameters [O, I, kh, kw], a group of `matrix_groups` each.
        lr: length of a step: each singular value of a weight changes by about this much.
        momentum: decay of the moving average of the gradients.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], *, lr: float, momentum: float = 0.95
    ) -> None:
        super().__init__(list(groups), {"lr": lr, "momentum": momentum, "interleaved": 1})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step along the orthogonalised average of the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        entries = [
            (group, parameter, parameter.grad)
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        # The largest first: dealt out in turns, they make equal shares.
        entries.sort(key=lambda entry: -entry[1].numel())
        ranks = get_world_size() if is_available() and is_initialized() else 1
        rank = get_rank() if ranks > 1 else 0
        directions = []
        for number, (group, parameter, gradient) in enumerate(entries):
            average = self._average(parameter, gradient, group["momentum"])
            if number % ranks == rank:
                looked_ahead = gradient.lerp(average, group["momentum"])
                direction = _direction(looked_ahead, group["interleaved"])
                directions.append(direction.flatten().float())
            else:
                directions.append(gradient.new_zeros(gradient.numel()))
        if ranks > 1 and entries:
            joined = torch.cat(directions)
            all_reduce(joined)
            directions = list(
                torch.split(joined, [parameter.numel() for _, parameter, _ in entries])
            )
        for (group, parameter, _), direction in zip(entries, directions, strict=True):
            parameter.sub_(direction.view(parameter.shape) * group["lr"])
        return loss

    def _average(self, parameter: Tensor, gradient: Tensor, momentum: float) -> Tensor:
        state = self.state[parameter]
        if "average" not in state:
            state["average"] = torch.zeros_like(gradient)
        average: Tensor = state["average"]
        return average.lerp_(gradient, 1 - momentum)


def matrix_groups(module: nn.Module, parameters: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
    """Collect those of the parameters that are convolutions between at least 16 channels.

    The channels of a sub-pixel convolution hold several matrices, one for each position, with
    their rows interleaved; they are orthogonalised one by one.
    """
    known = {id(parameter): parameter for parameter in parameters}
    groups: dict[int, list[nn.Parameter]] = {}
    interleaved = {
        id(first): following.upscale_factor**2
        for sequence in module.modules()
        if isinstance(sequence, nn.Sequential)
        for first, following in zip(sequence, list(sequence)[1:], strict=False)
        if isinstance(following, nn.PixelShuffle)
    }
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and id(layer.weight) in known:
            matrices = interleaved.get(id(layer), 1)
            if min(layer.in_channels, layer.out_channels // matrices) >= _FEWEST_CHANNELS:
                groups.setdefault(matrices, []).append(known[id(layer.weight)])
    return [{"params": group, "interleaved": count} for count, group in sorted(groups.items())]


def _direction(gradient: Tensor, interleaved: int) -> Tensor:
    """Return the step for a gradient [O, ...], of length 1 in every direction. -> [O, ...]."""
    rows = gradient.reshape(-1, interleaved, gradient[0].numel()).transpose(0, 1)
    height, width = rows.shape[1:]
    direction = orthogonalised(rows) * math.sqrt(max(1.0, height / width))
    return direction.transpose(0, 1).reshape(gradient.shape)


def orthogonalised(matrices: Tensor) -> Tensor:
    """Bring all singular values close to 1, by Newton-Schulz iterations.

    They compute in bfloat16 where it is native.

    Shapes: [N, H, W] -> [N, H, W].
    """
    x = matrices.to(arithmetic("auto", matrices.device.type))
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x.mT if tall else x
