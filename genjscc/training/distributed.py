# SPDX-License-Identifier: Apache-2.0
"""Collective operations of a run's processes: sums, means, gathers, and stopping together.

With one process they change nothing.
"""

from __future__ import annotations

import signal
from typing import Any, Self, cast

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

    A context: at its end the signals do what they did before, so that Ctrl-C ends the program that
    called. SIGHUP is left alone where it is ignored (nohup): such a run goes on.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, *_: object) -> None:
        self.asked = True


def any_process(fabric: Fabric, flag: bool) -> bool:
    """Return True on all processes if it is True on one, so that none waits in vain."""
    if fabric.world_size == 1:
        return flag
    return bool(sum_over_processes(fabric, torch.tensor(float(flag))) > 0)
