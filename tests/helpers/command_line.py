# SPDX-License-Identifier: Apache-2.0
"""The `genjscc` command in this process.

What a process of its own shows is tested elsewhere: its start, its signals, its locale.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest import mock

from genjscc import cli
from genjscc.cli import console, output_files


@dataclass(frozen=True)
class Done:
    """The result of a command."""

    returncode: int
    stdout: str
    stderr: str


def genjscc(*arguments: str, **variables: str) -> Done:
    """Run a command, without the caller's GENJSCC_ variables and without a PATH."""
    return run_main(cli.main, "genjscc", *arguments, **variables)


def run_main(main: Callable[[], object], program: str, *arguments: str, **variables: str) -> Done:
    """Call the main function of a program as Python does; signal handlers are restored."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GENJSCC_")}
    environment = {**kept, "PATH": "", "COLUMNS": "160", **variables}
    handlers = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)}
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch.object(sys, "argv", [program, *arguments]),
        mock.patch.object(console.out, "_width", 160),
        mock.patch.object(console.err, "_width", 160),
        mock.patch.object(console, "_json_for", []),
        mock.patch.object(output_files, "_force", []),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                err.write(f"{end.code}\n")
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return Done(code, out.getvalue(), err.getvalue())
