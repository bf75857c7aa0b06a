# SPDX-License-Identifier: Apache-2.0
"""How a run on one or many processes is asked to stop between two steps."""

from __future__ import annotations

import signal

import torch
from lightning_fabric import Fabric

from genjscc.training.collective import sum_over_processes


class StopOnSignal:
    """`asked` turns true on SIGINT, SIGTERM or SIGHUP: the loop saves and ends between two steps.

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
    """True on all processes if it is on one: none may leave a collective operation alone."""
    if fabric.world_size == 1:
        return flag
    return bool(sum_over_processes(fabric, torch.tensor(float(flag))) > 0)
