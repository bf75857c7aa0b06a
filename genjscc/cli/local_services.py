# SPDX-License-Identifier: Apache-2.0
"""The three services as processes that end with their command."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from genjscc.cli.console import err
from genjscc.client.transport import DEFAULT_PORTS
from genjscc.launch.processes import LocalServices

_METRICS_PORTS = {"transmitter": 9464, "channel": 9465, "receiver": 9466}


@contextmanager
def started(flags: dict[str, list[str]], *, logs: bool = False) -> Iterator[LocalServices]:
    """Start the three services, with a spinner."""
    end_when_told()
    services = LocalServices(flags, echo_logs=logs)
    with err.status("starting transmitter, channel and receiver ..."):
        services.__enter__()
    try:
        yield services
    finally:
        services.stop()


def end_when_told() -> None:
    """Turn SIGTERM and SIGHUP into exceptions, so that the services are stopped as well."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)


def _end(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def service_flags(role: str, free_ports: bool, bundles: Path | None, device: str) -> list[str]:
    """Return the flags of one service's process."""
    flags = []
    if not free_ports:
        flags += ["--port", str(DEFAULT_PORTS[role])]
        flags += ["--metrics-port", str(_METRICS_PORTS[role])]
    if role != "channel":
        flags += ["--device", device]
        if bundles is not None:
            flags += ["--bundles", str(bundles)]
    return flags
