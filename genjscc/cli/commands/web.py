# SPDX-License-Identifier: Apache-2.0
"""`genjscc web`: serve the interactive page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from genjscc.addresses import is_loopback, joined
from genjscc.cli.console import err, present
from genjscc.cli.local_services import service_flags, started
from genjscc.cli.options import Bundles, ChannelAddress, Device, Receiver, Transmitter
from genjscc.client.transport import default_address
from genjscc.errors import needs
from genjscc.service_packages import ROLES


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(web)


def web(
    connect: Annotated[
        bool,
        typer.Option(
            help="Use services that run already, where GENJSCC_TRANSMITTER and so on say. "
            "Naming one of them does it, too."
        ),
    ] = False,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8080,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = False,
    bundles: Bundles = None,
    device: Device = "cpu",
    transmitter: Transmitter = None,
    channel: ChannelAddress = None,
    receiver: Receiver = None,
) -> None:
    """Serve a page on which you drop a photo, choose rate, SNR and channel, and see the results.

    Starts the three services for itself unless it is told of others, and again if one of them
    ends. The page's address carries the settings: a link shows others the same.
    """
    with needs("web", "the page"):
        from genjscc.web.server import listen, serve
    given = {"transmitter": transmitter, "channel": channel, "receiver": receiver}
    listening = listen(host, port)
    with _services(given, connect, bundles, device) as addresses:
        url = f"http://{joined(host, listening.getsockname()[1])}"
        services = [{"service": role, "address": address} for role, address in addresses.items()]
        present(f"page: {url}", results=[{"page": url, "services": services}])
        if not is_loopback(host):
            err.print("open to other machines: whoever reaches it may use the services")
        err.print("Ctrl-C ends it")
        if browser:
            typer.launch(url)
        serve(listening, addresses)


@contextmanager
def _services(
    given: dict[str, str | None], connect: bool, bundles: Path | None, device: str
) -> Iterator[dict[str, str]]:
    """Yield addresses of running services, or of services started here."""
    if connect or any(given.values()):
        yield {role: address or default_address(role) for role, address in given.items()}
        return
    flags = {role: service_flags(role, True, bundles, device) for role in ROLES}
    with started(flags) as services, services.kept_alive(_tell):
        yield services.addresses


def _tell(line: str) -> None:
    err.print(line, soft_wrap=True)
