# SPDX-License-Identifier: Apache-2.0
"""The options --json, of every command, and --force, of every command that writes files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
import typer.main

from genjscc.cli.console import answer_in_json
from genjscc.cli.output_files import force_option


def _chosen(context: typer.Context, value: bool) -> None:
    if value:
        answer_in_json(context.command_path.partition(" ")[2])


_Json = Annotated[
    bool, typer.Option("--json", help="Results and errors as JSON.", callback=_chosen)
]


# What writes nothing, or to a place of its own.
_WITHOUT_FORCE = ("models", "up", "doctor", "web", "cbr", "train", "export-start")


def add_json_option(program: Any) -> None:
    """Add --json to every command of a program but `serve`, which prints JSON anyway."""
    _add(program, _option(), ("serve",))


def add_force_option(program: Any) -> None:
    """Add --force to every command that writes files to paths in its arguments."""
    _add(program, force_option(), ("serve", *_WITHOUT_FORCE))


def _option() -> Any:
    """Make an option from a declaration; its callback sees the value, the command does not."""

    def declared(json: _Json = False) -> None: ...

    maker = typer.Typer(add_completion=False)
    maker.command()(declared)
    (option,) = (one for one in typer.main.get_command(maker).params if one.name == "json")
    option.expose_value = False
    return option


def _add(command: Any, option: Any, without: Sequence[str]) -> None:
    for name, one in getattr(command, "commands", {}).items():
        if name not in without:
            _add(one, option, without)
    if not hasattr(command, "commands"):
        command.params.append(option)
