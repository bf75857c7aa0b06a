# SPDX-License-Identifier: Apache-2.0
"""How the commands talk to people."""

from __future__ import annotations

import re

from rich.console import Console

from genjscc.errors import GenJSCCError, InvalidInputError, UnavailableError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def report_error(error: GenJSCCError) -> None:
    """One line that says what is wrong, and a hint where there is a way out."""
    err.print(f"[bold red]error:[/] {_escape(str(error))}", soft_wrap=True)
    hint = _hint(error)
    if hint:
        err.print(f"[cyan]hint:[/] {_escape(hint)}", soft_wrap=True)


def _hint(error: GenJSCCError) -> str:
    if isinstance(error, UnavailableError) and "ended at its start" not in str(error):
        return "start the services with `genjscc up`, or name them with --transmitter and so on"
    if isinstance(error, InvalidInputError) and "scale it down" in str(error):
        return "--size 512 sends the photo's central square at 512x512 pixels"
    only = re.search(r"carries images of (\d+)x\1 only", str(error))
    if only:
        return f"--size {only[1]} sends the photo's central square at {only[1]}x{only[1]} pixels"
    return ""


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
