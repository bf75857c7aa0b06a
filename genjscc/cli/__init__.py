# SPDX-License-Identifier: Apache-2.0
"""The `genjscc` command.

Data goes to standard output, everything else to standard error; with --json the data is one JSON
object. Exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted, 143 terminated. See
docs/command-line.md.

* `commands`: one module per command
* `console`, `json_option`, `pictures`, `progress`: output for people and as JSON
* `options`, `inversion_options`, `model_choice`: options and selections that commands share
* `completion`: what the shell completes
* `local_services`: services that a command starts
* `measuring`, `quality_tables`, `receptions`, `provenance`: parts of the commands that measure
"""

from __future__ import annotations

import io
import signal
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from typing import Annotated, Any

import typer
import typer.main

from genjscc.cli.console import end_with_error, err
from genjscc.cli.json_option import add_force_option, add_json_option
from genjscc.environment import unknown_variables
from genjscc.errors import GenJSCCError

app = typer.Typer(
    name="genjscc",
    help="Send images over noisy channels with learned joint source-channel codes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"genjscc {version('genjscc')}")
        raise typer.Exit


@app.callback()
def _before(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None: ...


def main() -> None:
    """Entry point of the console script."""
    hear_interrupts()
    for stream in (sys.stdout, sys.stderr):
        # A name in another script must not end a command where the locale lacks its letters.
        if isinstance(stream, io.TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
            stream.reconfigure(errors="backslashreplace")
    try:
        name_misspelt_variables()
        _program()(prog_name="genjscc")
    except GenJSCCError as error:
        end_with_error(error)
        sys.exit(1)
    except OSError as error:  # a disk that is full, a folder that is gone meanwhile
        where = "" if error.filename is None else f"{error.filename}: "
        end_with_error(GenJSCCError(f"{where}{error.strerror or error}"))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def hear_interrupts() -> None:
    """Let Ctrl-C raise KeyboardInterrupt from now on, unless the shell ignores it.

    Until here it ends the process at once: see `genjscc.__main__`.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def name_misspelt_variables() -> None:
    """Warn about environment variables that nothing reads; services do so themselves."""
    if sys.argv[1:2] == ["serve"] or not unknown_variables(()):
        return
    with suppress(ImportError):  # without the services' packages their variables are not known
        from genjscc.serving.settings import misspelt_variables

        for remark in misspelt_variables():
            err.print(f"warning: {remark}", soft_wrap=True)


@cache  # commands register once, however often they are called
def _program() -> Any:
    from genjscc.cli.commands import (
        baseline,
        cbr,
        compare,
        convert,
        demo,
        doctor,
        evaluate,
        export,
        invert,
        loadtest,
        models,
        onnx,
        pull,
        receiver_time,
        report,
        samples,
        send,
        serve,
        train,
        up,
        web,
    )

    commands = (
        *(demo, send, web, models, up, serve, doctor, loadtest),
        *(evaluate, baseline, cbr, report, receiver_time, compare, invert, samples),
        *(export, onnx, pull, train, convert),
    )
    for command in commands:
        command.register(app)
    program = typer.main.get_command(app)
    add_json_option(program)
    add_force_option(program)
    return program
