# SPDX-License-Identifier: Apache-2.0
"""CPU time of a process (Linux): unlike wall time, the same on a busy machine."""

from __future__ import annotations

import os
from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of all threads so far, in seconds, in steps of a clock tick (10 ms)."""
    # The name in parentheses may have spaces; utime and stime are fields 14 and 15 of the line.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
