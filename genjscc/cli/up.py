# SPDX-License-Identifier: Apache-2.0
"""`genjscc up`: the three services on this machine."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.table import Table

from genjscc.cli.console import err, present
from genjscc.client.transport import DEFAULT_PORTS
from genjscc.errors import UnavailableError
from genjscc.launch.processes import ROLES, LocalServices

_METRICS_PORTS = {"transmitter": 9464, "channel": 9465, "receiver": 9466}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(up)


def up(
    free_ports: Annotated[bool, typer.Option(help="Pick free ports.")] = False,
    bundles: Annotated[Path | None, typer.Option(help="Folder of the trained models.")] = None,
    device: Annotated[str, typer.Option(help="PyTorch device of the networks.")] = "cpu",
    logs: Annotated[bool, typer.Option(help="Show the services' logs.")] = False,
    docker: Annotated[
        bool, typer.Option(help="As containers, with gateway and Prometheus, by Compose.")
    ] = False,
) -> None:
    """Start transmitter, channel and receiver here, until Ctrl-C."""
    if docker:
        from genjscc.cli.containers import up_as_containers

        _end_when_told()
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


@contextmanager
def started(flags: dict[str, list[str]], *, logs: bool = False) -> Iterator[LocalServices]:
    """The three services, with a spinner while they start."""
    _end_when_told()
    services = LocalServices(flags, echo_logs=logs)
    with err.status("starting transmitter, channel and receiver ..."):
        services.__enter__()
    try:
        yield services
    finally:
        services.stop()


def _end_when_told() -> None:
    """Without this a SIGTERM or a closed terminal would leave the services behind."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)


def _end(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def service_flags(role: str, free_ports: bool, bundles: Path | None, device: str) -> list[str]:
    """The flags of one service's process."""
    flags = []
    if not free_ports:
        flags += ["--port", str(DEFAULT_PORTS[role])]
        flags += ["--metrics-port", str(_METRICS_PORTS[role])]
    if role != "channel":
        flags += ["--device", device]
        if bundles is not None:
            flags += ["--bundles", str(bundles)]
    return flags
