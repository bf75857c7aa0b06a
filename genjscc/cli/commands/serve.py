# SPDX-License-Identifier: Apache-2.0
"""`genjscc serve ROLE`: run one service in the foreground."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from typing import Annotated

import typer

from genjscc.errors import needs
from genjscc.service_packages import service_package


class Role(StrEnum):
    """The services."""

    TRANSMITTER = "transmitter"
    CHANNEL = "channel"
    RECEIVER = "receiver"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        context_settings={
            "allow_extra_args": True,
            "ignore_unknown_options": True,
            "help_option_names": ["-h"],
        },
    )(serve)


def serve(role: Annotated[Role, typer.Argument(help="Which service.")], ctx: typer.Context) -> None:
    """Run one service until SIGTERM; `genjscc serve ROLE --help` lists its flags."""
    with needs("serve", f"the {role}", otherwise=" (the channel alone: 'genjscc[channel]')"):
        module = import_module(f"{service_package(role)}.__main__")
    module.main(ctx.args)
