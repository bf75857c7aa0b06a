# SPDX-License-Identifier: Apache-2.0
"""`genjscc up --docker`: the Compose project in the foreground."""

from __future__ import annotations

import signal
from pathlib import Path

from rich.table import Table

from genjscc.cli.console import err, present
from genjscc.launch.containers import PROMETHEUS, PROMETHEUS_PORT, Project, free_ports_settings


def up_as_containers(*, free_ports: bool, bundles: Path | None, device: str) -> None:
    """Builds and starts the project, and ends it with Ctrl-C or SIGTERM."""
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
