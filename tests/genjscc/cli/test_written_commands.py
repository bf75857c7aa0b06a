# SPDX-License-Identifier: Apache-2.0
"""Commands that pages tell people to run exist, with the options that are given."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from genjscc.cli.commands import (
    baseline,
    compare,
    convert,
    demo,
    evaluate,
    export,
    invert,
    models,
    receiver_time,
    report,
    samples,
    send,
    train,
    up,
    web,
)
from genjscc.report.gaps import EXPECTED
from genjscc.repository import REPOSITORY
from tests.helpers.written_pages import commands

DOCS = REPOSITORY / "docs"
DIFFERENCES = (DOCS / "differences.md").read_text()


def of_page(page: Path) -> list[str]:
    return [command for command in commands(page) if command.startswith("genjscc ")]


COMMANDS = of_page(DOCS / "differences.md")
PAGES = (DOCS / "training.md", DOCS / "tutorial.md", DOCS / "web.md")
OTHERS = [command for page in (REPOSITORY / "README.md", *PAGES) for command in of_page(page)]
SUGGESTED = [expected.command for expected in EXPECTED if expected.command]


@pytest.fixture(scope="module")
def program() -> Any:
    app = typer.Typer()
    parts = (
        *(baseline, compare, convert, demo, evaluate, export, invert, models),
        *(receiver_time, report, samples, send, train, up, web),
    )
    for part in parts:
        part.register(app)
    return typer.main.get_group(app)


def parse(group: Any, words: list[str]) -> dict[str, Any]:
    """Options and arguments, as the command would get them; raises where it would refuse."""
    name, *rest = words
    command = group.commands[name]
    if hasattr(command, "commands"):
        return parse(command, rest)
    return dict(command.make_context(name, rest).params)


@pytest.mark.parametrize("line", sorted({*COMMANDS, *OTHERS, *SUGGESTED}))
def test_a_written_command_is_understood(line: str, program: Any) -> None:
    program_name, *words = shlex.split(line)
    assert program_name == "genjscc"
    options = parse(program, words)
    config = options.get("config")
    if config is not None:
        assert (REPOSITORY / str(config)).is_file()


def test_the_page_on_differences_has_the_whole_way() -> None:
    assert len(COMMANDS) >= 15
    for part in ("convert-stylegan2", "train deepjscc", "train generative", "export", "evaluate"):
        assert any(command.startswith(f"genjscc {part}") for command in COMMANDS)
    links = re.findall(r"\]\(([^)]+)\)", DIFFERENCES)
    for link in links:
        if link != "report/report.md":  # which a command writes
            assert Path(REPOSITORY / "docs" / link).exists(), link
