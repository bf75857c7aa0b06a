# SPDX-License-Identifier: Apache-2.0
"""What is printed is data: brackets, braces and colons in names mean themselves."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from genjscc.cli import console
from genjscc.cli.console import present, report_error
from genjscc.cli.measuring import progress
from genjscc.cli.quality_tables import SIMPLE_HEAD
from genjscc.errors import InvalidInputError

CLI = Path(__file__).resolve().parents[3] / "genjscc" / "cli"
NASTY = ["a[/x]b", "[red]c[/red]", "[train]", "e:cat:f", "{0} {x}", "[bold", "\\[escaped]"]


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Both consoles with their own settings, on a file."""
    file = io.StringIO()
    for stream in (console.out, console.err):
        monkeypatch.setattr(stream, "_file", file)
        monkeypatch.setattr(stream, "_width", 200)
    return file


@pytest.mark.parametrize("text", NASTY)
def test_lines_tables_and_errors(text: str, printed: io.StringIO) -> None:
    table = Table(text, title=text, caption=text, box=SIMPLE_HEAD)
    table.add_row(text)
    present(table, f"written: {text}")
    report_error(InvalidInputError("photo", f"cannot read {text}"))
    assert printed.getvalue().count(text) == 6


@pytest.mark.parametrize("text", NASTY)
def test_bars(text: str, printed: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(
        file=printed, force_terminal=True, width=200, markup=False, emoji=False, highlight=False
    )
    monkeypatch.setattr("genjscc.cli.measuring.err", terminal)
    with progress(text, 2) as note:
        note(None)
    assert text in printed.getvalue()


def test_every_column_of_text_and_every_console_takes_text_as_it_is() -> None:
    for path in CLI.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            keywords = {one.arg: one.value for one in node.keywords}
            if node.func.id in ("TextColumn", "Console"):
                wrong = keywords.get("markup")
                assert isinstance(wrong, ast.Constant), path
                assert wrong.value is False, path
            if node.func.id == "TextColumn":
                assert isinstance(node.args[0], ast.Constant), path  # it is a format
