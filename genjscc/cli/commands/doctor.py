# SPDX-License-Identifier: Apache-2.0
"""`genjscc doctor`: check the installation and suggest fixes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from genjscc.cli.console import err, in_json, out, present
from genjscc.cli.options import ChannelAddress, Receiver, Transmitter
from genjscc.repository import default_models

_STYLES = {"ok": "green", "missing": "yellow", "problem": "bold red"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    bundles: Annotated[
        Path | None, typer.Option(help="Folder of the trained models; default: the repository's.")
    ] = None,
    transmitter: Transmitter = None,
    channel: ChannelAddress = None,
    receiver: Receiver = None,
) -> None:
    """Check versions, devices, models, services, weights, extras and the Docker engine.

    What is missing is no fault. The exit code is 1 where there is a problem: something that is
    here and does not work, or a service that was named and does not serve.
    """
    from genjscc.diagnosis import examine

    addresses = {"transmitter": transmitter, "channel": channel, "receiver": receiver}
    with err.status("looking ..."):
        findings = list(examine(bundles or default_models(), addresses))
    table = Table(box=None, pad_edge=False)
    for name in ("", "", "", "found", "what to do"):
        table.add_column(name, overflow="fold")
    area = ""
    for one in findings:
        if area and one.area != area:
            table.add_section()
        shown = "" if one.area == area else one.area
        state = Text(one.state, _STYLES[one.state])
        table.add_row(Text(shown, "bold"), one.name, state, one.found, one.advice)
        area = one.area
    problems = sum(one.state == "problem" for one in findings)
    present(table, results=findings)
    if problems and not in_json():
        out.print(f"{problems} problem{'s' if problems > 1 else ''}")
    if problems:
        raise typer.Exit(1)
