# SPDX-License-Identifier: Apache-2.0
"""The `genjscc` command.

Data goes to standard output, everything else to standard error; with --json the data is one JSON
object. Exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted, 143 terminated. See
docs/command-line.md.

* `commands`: one module per command
* `console`, `json_option`, `pictures`, `progress`: output for people and as JSON
* `options`, `inversion_options`, `model_choice`: options and selections that commands share
* `local_services`: services that a command starts
* `measuring`, `quality_tables`, `receptions`, `provenance`: parts of the commands that measure
"""

from __future__ import annotations

import sys

import typer
import typer.main

from genjscc.cli.console import end_with_error
from genjscc.cli.json_option import add_json_option
from genjscc.errors import GenJSCCError

app = typer.Typer(
    name="genjscc",
    help="Send images over noisy channels with learned joint source-channel codes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Entry point of the console script."""
    from genjscc.cli.commands import (
        baseline,
        compare,
        convert,
        demo,
        doctor,
        evaluate,
        export,
        invert,
        loadtest,
        models,
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
        *(evaluate, baseline, report, receiver_time, compare, invert, samples),
        *(export, train, convert),
    )
    for command in commands:
        command.register(app)
    program = typer.main.get_command(app)
    add_json_option(program)
    try:
        program(prog_name="genjscc")
    except GenJSCCError as error:
        end_with_error(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
