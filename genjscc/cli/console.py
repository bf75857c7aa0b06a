# SPDX-License-Identifier: Apache-2.0
"""Output of the commands: for people, or for programs with --json."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.text import Text

from genjscc.errors import GenJSCCError, InvalidInputError, UnavailableError

# What is printed is data: paths, names and messages hold brackets and colons that mean themselves.
# Styles are given as `Text`.
out = Console(highlight=False, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, markup=False, emoji=False)

FORMAT = 1
_json_for: list[str] = []


def answer_in_json(command: str) -> None:
    """Write results and errors to standard output as JSON from now on."""
    _json_for[:] = [command]


def in_json() -> bool:
    """Return whether --json was given."""
    return bool(_json_for)


def present(
    *shown: RenderableType,
    results: Iterable[Any] = (),
    files: Sequence[Path | str] = (),
) -> None:
    """Present the result of a command. Call it once; a command that keeps running calls it when
    ready.

    Args:
        *shown: what people see; lines are not wrapped.
        results: the same for programs: mappings, dataclasses or pydantic models.
        files: what was written.
    """
    if in_json():
        _write(results=[plain(one) for one in results], files=[str(file) for file in files])
        return
    for one in shown:
        out.print(one, soft_wrap=isinstance(one, str))


def report_error(error: GenJSCCError) -> None:
    """Print an error in one line, with a hint if there is a remedy."""
    err.print(Text.assemble(("error:", "bold red"), f" {error}"), soft_wrap=True)
    hint = _hint(error)
    if hint:
        err.print(Text.assemble(("hint:", "cyan"), f" {hint}"), soft_wrap=True)


def end_with_error(error: GenJSCCError) -> None:
    """Report an error and end the command."""
    report_error(error)
    if in_json():
        _write(error=described(error))


def described(error: GenJSCCError) -> dict[str, str]:
    """Return an error as JSON values."""
    hint = _hint(error)
    return {
        "type": type(error).__name__,
        "status": error.code[1],
        "message": str(error),
        **({"hint": hint} if hint else {}),
    }


def plain(value: Any) -> Any:
    """Convert a value to JSON types; numbers that are not finite become null."""
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="python"))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    return str(value)


def _write(**content: Any) -> None:
    head = {"format": FORMAT, "command": _json_for[0], "version": version("genjscc")}
    # A program may wait for it while the command goes on.
    sys.stdout.write(json.dumps({**head, **content}, indent=2) + "\n")
    sys.stdout.flush()


def shows_pictures() -> bool:
    """Return whether standard output is a terminal; pipes and files get no pictures."""
    return has_window(sys.stdout) and not in_json()


def has_window(stream: TextIO) -> bool:
    """Return whether a stream is a terminal with a window; some have no columns."""
    return stream.isatty() and os.get_terminal_size(stream.fileno()).columns > 0


def _hint(error: GenJSCCError) -> str:
    if isinstance(error, UnavailableError) and "ended at its start" not in str(error):
        return "start the services with `genjscc up`, or name them with --transmitter and so on"
    if isinstance(error, InvalidInputError) and "scale it down" in str(error):
        return "--size 512 sends the photo's central square at 512x512 pixels"
    only = re.search(r"carries images of (\d+)x\1 only", str(error))
    if only:
        return f"--size {only[1]} sends the photo's central square at {only[1]}x{only[1]} pixels"
    return ""
