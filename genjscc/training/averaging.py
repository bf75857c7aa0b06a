# SPDX-License-Identifier: Apache-2.0
"""Exponential moving averages of weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Average:
    """Exponential moving average of a module's parameters, short at first."""

    def __init__(self, module: nn.Module, decay: float, frozen: nn.Module | None) -> None:
        # What never changes is shared, not copied.
        memo = {} if frozen is None else {id(frozen): frozen}
        self.module = copy.deepcopy(module, memo).eval().requires_grad_(False)
        self.decay = decay
        constant = set() if frozen is None else {id(p) for p in frozen.parameters()}
        pairs = zip(self.module.parameters(), module.parameters(), strict=True)
        self._pairs = [(mine, theirs) for mine, theirs in pairs if id(theirs) not in constant]

    def update(self, step: int) -> None:
        averaged = [mine for mine, _ in self._pairs]
        move_average(averaged, [theirs for _, theirs in self._pairs], self.decay, step)


@torch.no_grad()
def move_average(
    averaged: Sequence[Tensor], current: Sequence[Tensor], decay: float, step: int
) -> None:
    """Move averaged tensors towards the current ones, in place.

    Args:
        averaged: the averages.
        current: the trained tensors, in the same order.
        decay: share of the average that a step keeps.
        step: number of steps so far; in the first ones less is kept.
    """
    decay = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_([p.detach() for p in averaged], [p.detach() for p in current], 1 - decay)
