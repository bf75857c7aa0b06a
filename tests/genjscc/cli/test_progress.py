# SPDX-License-Identifier: Apache-2.0
"""Long work tells how far it is, on terminals and in logs."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import TextColumn

from genjscc.cli import progress
from genjscc.cli.progress import LoggedProgress


def lines_of(console: Console, *, disable: bool = False) -> list[str]:
    """What 30 steps of 10 s write, as a bar of 20 and one of 10."""
    for total in (20, 10):
        column = TextColumn("{task.completed:.0f} of {task.total:.0f}")
        with LoggedProgress(column, console=console, transient=True, disable=disable) as bar:
            task = bar.add_task("", total=total)
            for number in range(total):
                if number % 2:
                    bar.advance(task)
                else:
                    bar.update(task, completed=number + 1)
    file = console.file
    assert isinstance(file, io.StringIO)
    return [line.strip() for line in file.getvalue().splitlines()]


@pytest.fixture(autouse=True)
def ten_seconds_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(LoggedProgress, "_told_at", 0.0)
    monkeypatch.setattr(progress, "time", type("Clock", (), {"monotonic": lambda: next(clock)}))


def test_a_log_gets_a_line_a_minute_over_all_bars() -> None:
    log = lines_of(Console(file=io.StringIO(), force_terminal=False))
    assert log == ["7 of 20", "13 of 20", "19 of 20", "5 of 10"]


def test_a_terminal_and_what_is_not_shown_get_none() -> None:
    assert lines_of(Console(file=io.StringIO(), force_terminal=False), disable=True) == []
    shown = lines_of(Console(file=io.StringIO(), force_terminal=True, width=80))
    assert "7 of 20" not in shown
