# SPDX-License-Identifier: Apache-2.0
"""Figures and tables of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Sequence

NBSP = "\N{NO-BREAK SPACE}"


def figure(found: dict[str, float], digits: int = 2) -> str:
    """A median and its spread."""
    low, high = found["min"], found["max"]
    middle = f"{found['median']:.{digits}f}"
    if found["rounds"] == 1:
        return middle
    return f"{middle} ({low:.{digits}f}{NBSP}to{NBSP}{high:.{digits}f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, the others to the right."""
    return [
        f"| {' | '.join(head)} |",
        f"| --- |{' --: |' * (len(head) - 1)}",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]
