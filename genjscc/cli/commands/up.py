# SPDX-License-Identifier: Apache-2.0
"""`genjscc up`: start the three services on this machine."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from genjscc.cli.console import err, present
from genjscc.cli.local_services import end_when_told, service_flags, started
from genjscc.cli.options import Bundles, Device
from genjscc.errors import UnavailableError
from genjscc.launch.containers import PROMETHEUS, PROMETHEUS_PORT, Project, free_ports_settings
from genjscc.service_packages import ROLES


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(up)


def up(
    free_ports: Annotated[bool, typer.Option(help="Pick free ports.")] = False,
    bundles: Bundles = None,
    device: Device = "cpu",
    logs: Annotated[bool, typer.Option(help="Show the services' logs.")] = False,
    docker: Annotated[
        bool, typer.Option(help="As containers, with gateway and Prometheus, by Compose.")
    ] = False,
) -> None:
    """Start transmitter, channel and receiver here, until Ctrl-C."""
    if docker:
        end_when_told()
        return up_as_containers(free_ports=free_ports, bundles=bundles, device=device)
    flags = {role: service_flags(role, free_ports, bundles, device) for role in ROLES}
    with started(flags, logs=logs) as services:
        table = Table("service", "address", "metrics")
        for role in ROLES:
            service = services.services[role]
            table.add_row(role, service.address, service.metrics or "-")
        addresses = (
            {"service": role, "address": one.address, "metrics": one.metrics}
            for role, one in services.services.items()
        )
        present(table, results=addresses)
        err.print("ready: `genjscc send PHOTO` in another terminal; Ctrl-C stops them")
        while (ended := services.ended()) is None:
            time.sleep(0.5)
        raise UnavailableError(f"{ended.role} ended: {ended.last_words}")


def up_as_containers(*, free_ports: bool, bundles: Path | None, device: str) -> None:
    """Build and start the Compose project, and stop it on Ctrl-C or SIGTERM."""
    settings = free_ports_settings() if free_ports else {}
    if bundles is not None:
        settings["BUNDLES"] = str(bundles.resolve())
    project = Project(settings=settings, overlays=["gpu"] if device != "cpu" else [])
    try:
        with err.status("building and starting containers, the first time for minutes ..."):
            project.build()
            project.up()
        table = Table("service", "address")
        prometheus = f"http://{project.published(PROMETHEUS, PROMETHEUS_PORT)}"
        addresses = {**project.addresses(), PROMETHEUS: prometheus}
        for role, address in addresses.items():
            table.add_row(role, address)
        named = ({"service": role, "address": address} for role, address in addresses.items())
        present(table, results=named)
        err.print("ready: `genjscc send PHOTO` in another terminal; Ctrl-C ends them")
        signal.pause()
    finally:
        with err.status("ending the containers ..."):
            project.down()
