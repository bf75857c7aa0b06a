# SPDX-License-Identifier: Apache-2.0
"""CPU affinity: cores reserved for the compute thread.

Under overload the event loop always has calls to refuse, and the scheduler gives it the core of the
thread that computes. Kept apart, refusals cost goodput little (`benchmarks/serving/overload.py`).
"""

from __future__ import annotations

import os
from pathlib import Path

from genjscc.errors import InvalidInputError, quoted


def parse_cores(text: str) -> frozenset[int]:
    """Parse core numbers: "0,2-3" -> {0, 2, 3}; an empty text gives no cores.

    Raises:
        InvalidInputError: not such a list.
    """
    cores: set[int] = set()
    for part in text.split(",") if text.strip() else ():
        first, dash, last = part.strip().partition("-")
        if (
            not first.isdecimal()
            or (dash and not last.isdecimal())
            or int(last or first) < int(first)
        ):
            raise InvalidInputError("device_cores", f"got {quoted(text)}; cores are given as 0,2-3")
        cores |= set(range(int(first), int(last or first) + 1))
    return frozenset(cores)


def keep_for_device(text: str) -> None:
    """Move all threads of this process, present and future, off the compute thread's cores.

    Raises:
        InvalidInputError: not a list of cores, or of cores that this process does not have, or of
            all that it has; or the operating system knows no such thing.
    """
    cores = parse_cores(text)
    if not cores:
        return
    if not hasattr(os, "sched_setaffinity"):
        raise InvalidInputError("device_cores", "this operating system has no such setting")
    own = os.sched_getaffinity(0)
    if not cores < own:
        raise InvalidInputError(
            "device_cores",
            f"got {quoted(text)}; this process has the cores {sorted(own)}, and one has to be left "
            "for all other work",
        )
    for thread in Path("/proc/self/task").iterdir():  # libraries have started some
        os.sched_setaffinity(int(thread.name), own - cores)


def enter_device(text: str) -> None:
    """Move the calling thread, and those that it will start, to the compute thread's cores."""
    if cores := parse_cores(text):
        os.sched_setaffinity(0, cores)
