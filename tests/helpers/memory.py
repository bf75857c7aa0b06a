# SPDX-License-Identifier: Apache-2.0
"""How much memory a process takes, and the most that it has taken (Linux)."""

from __future__ import annotations

from pathlib import Path

MIB = 1024 * 1024


def resident(pid: int) -> int:
    """Bytes of now."""
    return _status(pid, "VmRSS")


def peak(pid: int) -> int:
    """Bytes of the moment with the most, since the last `forget_peak`."""
    return _status(pid, "VmHWM")


def forget_peak(pid: int) -> int:
    """Begins anew; the bytes of now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak(pid)


def _status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kilobytes,) = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(kilobytes) * 1024
