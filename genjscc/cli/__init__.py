# SPDX-License-Identifier: Apache-2.0
"""The `genjscc` command.

Data goes to standard output, everything else to standard error. Exit codes: 0 done, 1 failed
(one line says why), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import sys

import typer

from genjscc.cli.console import report_error
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
    from genjscc.cli import (
        baseline,
        compare,
        convert,
        demo,
        evaluate,
        invert,
        loadtest,
        models,
        report,
        send,
        serve,
        train,
        up,
        web,
    )

    commands = (
        *(demo, send, web, models, up, serve, loadtest),
        *(evaluate, baseline, report, compare, invert, train, convert),
    )
    for command in commands:
        command.register(app)
    try:
        app()
    except GenJSCCError as error:
        report_error(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
