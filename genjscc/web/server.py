# SPDX-License-Identifier: Apache-2.0
"""Server of the page: one process, which loads nothing from and sends nothing to other hosts."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI, HTTPException, Response
from nicegui import context, ui

from genjscc.addresses import bare_host, is_loopback, joined
from genjscc.client.aio import AsyncLink
from genjscc.errors import InvalidInputError
from genjscc.serving.memory import give_back_regularly
from genjscc.web.page import MOST_FILE_BYTES, SAMPLES_PATH, Bench, Links, samples
from genjscc.web.quality import warm_up

_STYLE = Path(__file__).with_name("style.css")
_ACCENT = "#1f6f63"
_TIMEOUT_S, _PATIENCE_S = 30.0, 3600.0
_END_S = 2
_MOST_BODY_BYTES = MOST_FILE_BYTES + 64 * 1024
_HERE = ("127.0.0.1", "localhost", "::1")
# The page itself compiles its templates, hence unsafe-eval; nothing comes from elsewhere.
_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
        b"style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        b"connect-src 'self' ws: wss:; frame-ancestors 'none'; form-action 'self'",
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


class Guard:
    """Middleware that refuses requests from other sites and forbids browsers to load from them.

    Refused are bodies that are too long, calls from pages of other origins, and, for a server
    that only this machine reaches, names that are not this machine's (DNS rebinding).
    """

    def __init__(self, app: Any, *, only_here: bool) -> None:
        self._app, self._only_here = app, only_here

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        status = self._refusal(
            {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        )
        if status and scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif status:
            await send({"type": "http.response.start", "status": status, "headers": _HEADERS})
            await send({"type": "http.response.body", "body": b"refused"})
        else:
            await self._app(scope, receive, _with_headers(send))

    def _refusal(self, headers: dict[str, str]) -> int:
        """Return the HTTP status of a refusal; 0 if the request is accepted."""
        host, origin = headers.get("host", ""), headers.get("origin")
        try:
            name = urlsplit(f"//{host}").hostname
            page = None if origin is None else urlsplit(origin).netloc
        except ValueError:  # such as half an IPv6 address
            return 400
        if self._only_here and name not in _HERE:
            return 421
        if page is not None and page != host:
            return 403
        if "transfer-encoding" in headers:
            return 411
        length = headers.get("content-length", "0")
        return 413 if not length.isdecimal() or int(length) > _MOST_BODY_BYTES else 0


def _with_headers(send: Any) -> Callable[[Any], Any]:
    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *_HEADERS]}
        await send(message)

    return sending


def make_app(addresses: dict[str, str], *, only_here: bool) -> Any:
    """Return the page as an ASGI application.

    Args:
        addresses: of the three services by role.
        only_here: whether it listens on the loopback address alone.
    """
    connect = partial(
        AsyncLink,
        transmitter=addresses["transmitter"],
        channel=addresses["channel"],
        receiver=addresses["receiver"],
    )
    links = Links(connect(timeout_s=_TIMEOUT_S), connect(timeout_s=_PATIENCE_S))

    def show() -> None:
        ui.add_css(_STYLE)
        ui.colors(primary=_ACCENT)
        request = context.client.request
        bench = Bench(links, request.query_params)
        context.client.on_connect(bench.name_file_input)
        context.client.on_delete(bench.close)

    app = FastAPI(openapi_url=None)
    app.get("/health")(lambda: "serving")
    app.get(SAMPLES_PATH + "/{number}")(_thumbnail)
    ui.run_with(
        app,
        root=show,
        title="GenJSCC",
        dark=None,  # as the system has it
        language="en-US",
        tailwind=False,
        reconnect_timeout=2.0,
        show_welcome_message=False,
    )
    return Guard(app, only_here=only_here)


def _thumbnail(number: int) -> Response:
    if not 1 <= number <= len(samples()):
        raise HTTPException(404)
    kept = {"cache-control": "max-age=3600"}
    return Response(samples()[number - 1].thumbnail, media_type="image/png", headers=kept)


def listen(host: str, port: int) -> socket.socket:
    """Open a socket for browsers; port 0 picks a free one.

    Raises:
        InvalidInputError: the address is taken or not of this machine.
    """
    host = bare_host(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen()  # who comes before the page is ready waits
    except OSError as error:
        made.close()
        raise InvalidInputError(
            "--port", f"cannot listen at {joined(host, port)}: {error}"
        ) from error
    return made


def serve(listening: socket.socket, addresses: dict[str, str]) -> None:
    """Serve the page until SIGINT or SIGTERM."""
    only_here = is_loopback(listening.getsockname()[0])
    config = uvicorn.Config(
        make_app(addresses, only_here=only_here),
        log_level=logging.WARNING,
        server_header=False,
        timeout_graceful_shutdown=_END_S,
    )
    asyncio.run(_serve(uvicorn.Server(config), listening))


async def _serve(server: uvicorn.Server, listening: socket.socket) -> None:
    # What visitors leave behind is free, and would stay with the process.
    giving_back = asyncio.create_task(give_back_regularly())
    # The first visitor would wait for it. A thread of its own ends with the process.
    threading.Thread(target=warm_up, daemon=True).start()
    try:
        await server.serve(sockets=[listening])
    finally:
        giving_back.cancel()
