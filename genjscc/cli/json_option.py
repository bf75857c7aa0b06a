# SPDX-License-Identifier: Apache-2.0
"""--json, for every command alike; --force, for every one that writes."""

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
    """To every command of a program; a service speaks JSON anyway."""
    _add(program, _option(), ("serve",))


def add_force_option(program: Any) -> None:
    """To every command that writes files where it is told to."""
    _add(program, force_option(), ("serve", *_WITHOUT_FORCE))


def _option() -> Any:
    """As typer makes one of a declaration; its callback sees it, the command does not."""

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
