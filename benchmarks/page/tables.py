# SPDX-License-Identifier: Apache-2.0
"""Values, tables and paragraphs of docs/benchmarks.md."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

NBSP = "\N{NO-BREAK SPACE}"
COLUMNS = 100


def figure(found: dict[str, float], digits: int = 2) -> str:
    """Format a median with its lowest and highest round."""
    low, high = found["min"], found["max"]
    middle = f"{found['median']:.{digits}f}"
    if found["rounds"] == 1:
        return middle
    return f"{middle} ({low:.{digits}f}{NBSP}to{NBSP}{high:.{digits}f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Render a table: first column aligned left, the others right."""
    return [
        f"| {' | '.join(head)} |",
        f"| --- |{' --: |' * (len(head) - 1)}",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]


def paragraph(text: str) -> str:
    """Wrap a paragraph at 100 columns, with an empty line after it."""
    lines = textwrap.wrap(text, COLUMNS, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines) + "\n"
