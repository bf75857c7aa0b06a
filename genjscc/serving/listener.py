# SPDX-License-Identifier: Apache-2.0
"""Bind the gRPC server to its address, and replace it if grpcio's accept loop fails.

grpcio's asyncio server stops accepting for good when its loop that takes the calls meets an
error. One such error could be caused by callers: method names that are not UTF-8. The loop decodes
them strictly, in compiled code, where nothing can be set, overridden or caught; but Python lets
the error handler "strict" be replaced. `_decode_error` does what the ordinary one does, except for
bytes that are decoded straight from the event loop, where only that compiled code is the caller:
they get replacement characters, and the call is refused as one of an unknown method.

For other errors the loop is watched, and a new server takes over the address. Accepted calls
continue in the old one. New calls are refused for about half a second, which the SDK's retries
bridge.
"""

from __future__ import annotations

import asyncio
import codecs
import logging
import sys
from collections.abc import Callable

import grpc

log = logging.getLogger("genjscc")
_LOOK_S = 0.25
_TRIES, _TRY_AGAIN_S = 40, 0.05

_strict = codecs.strict_errors
_FROM_THE_LOOP = asyncio.Handle._run.__code__


def _decode_error(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeDecodeError) and sys._getframe(1).f_code is _FROM_THE_LOOP:
        return "\ufffd", error.end
    return _strict(error)


class Listener:
    """Server of one address, from `start` to `stop`.

    Args:
        make: a new gRPC server with all that it serves.
        address: host:port; port 0 picks a free one.
        credentials: of TLS; None: without.
        restarted: called after each takeover.
        grace_s: how long accepted calls may go on in a server that is not the current one.
    """

    def __init__(
        self,
        make: Callable[[], grpc.aio.Server],
        address: str,
        credentials: grpc.ServerCredentials | None,
        *,
        restarted: Callable[[], None],
        grace_s: float,
    ) -> None:
        codecs.register_error("strict", _decode_error)
        self._make, self._credentials, self._restarted = make, credentials, restarted
        self._host, _, port = address.rpartition(":")
        self._grace_s = grace_s
        self._server = self._make()
        self._watching: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self.port = self._bind(self._server, int(port))

    def _bind(self, server: grpc.aio.Server, port: int) -> int:
        """Bind a server to the address. Raises RuntimeError if it is taken."""
        address = f"{self._host}:{port}"
        if self._credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, self._credentials)

    async def start(self) -> None:
        """Accept calls from now on."""
        await self._server.start()
        self._watching = asyncio.create_task(self._watch())

    async def stop(self, grace_s: float) -> None:
        """Stop accepting calls; cancel those that exceed the grace period."""
        if self._watching is not None:
            self._watching.cancel()
        await asyncio.gather(self._server.stop(grace_s), *self._ending)

    async def _watch(self) -> None:
        while True:
            try:
                await self._server.wait_for_termination(_LOOK_S)
            except Exception:
                log.exception("grpcio ceased to accept calls; a new server takes over")
                await self._take_over()

    async def _take_over(self) -> None:
        ending = asyncio.create_task(self._server.stop(self._grace_s))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        for attempt in range(1, _TRIES + 1):
            server = self._make()
            try:
                self._bind(server, self.port)
            except RuntimeError:  # the old socket is not closed yet
                if attempt == _TRIES:
                    raise
                await asyncio.sleep(_TRY_AGAIN_S)
            else:
                break
        self._server = server
        await server.start()
        self._restarted()
