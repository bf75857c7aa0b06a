# SPDX-License-Identifier: Apache-2.0
"""Collective operations of a run's processes: sums, means, gathers, and stopping together.

With one process they change nothing.
"""

from __future__ import annotations

import signal
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Tensor


def sum_over_processes(fabric: Fabric, values: Tensor) -> Tensor:
    """Sum element-wise. Every process must call it with the same shape, as all functions here."""
    return cast("Tensor", fabric.all_reduce(values, reduce_op="sum"))


def mean_over_processes(fabric: Fabric, values: Tensor) -> Tensor:
    """Average element-wise."""
    return cast("Tensor", fabric.all_reduce(values, reduce_op="mean"))


def rows_of_processes(fabric: Fabric, rows: Tensor) -> Tensor:
    """Gather rows [N, F] of all processes in the order of their ranks. -> [ranks * N, F]."""
    table = rows.new_zeros(fabric.world_size, *rows.shape)
    table[fabric.global_rank] = rows
    return sum_over_processes(fabric, table).flatten(0, 1)


class StopOnSignal:
    """Request to stop: `asked` is set on SIGINT, SIGTERM or SIGHUP, and checked between steps.

    A run under nohup, which ignores that its terminal is gone, goes on.
    """

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._note)

    def _note(self, *_: object) -> None:
        self.asked = True


def any_process(fabric: Fabric, flag: bool) -> bool:
    """Return True on all processes if it is True on one, so that none waits in vain."""
    if fabric.world_size == 1:
        return flag
    return bool(sum_over_processes(fabric, torch.tensor(float(flag))) > 0)
