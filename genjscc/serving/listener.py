# SPDX-License-Identifier: Apache-2.0
"""The gRPC server on its address, and a new one where grpcio's ends by itself.

grpcio's asyncio server stops accepting for good when its loop that takes the calls meets an
error. The one that callers could cause is prevented (`genjscc.serving.foreign_names`). For others
the loop's end is watched, and a new server takes over the address. What the old one had accepted
goes on in it; new calls find nobody for about half a second, which the SDK's retries bridge.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import grpc

from genjscc.serving.foreign_names import tolerate_foreign_names

log = logging.getLogger("genjscc")
_LOOK_S = 0.25
_TRIES, _TRY_AGAIN_S = 40, 0.05


class Listener:
    """Serves one address until `stop`.

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
        tolerate_foreign_names()
        self._make, self._credentials, self._restarted = make, credentials, restarted
        self._host, _, port = address.rpartition(":")
        self._grace_s = grace_s
        self._server = self._make()
        self._watching: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self.port = self._bind(self._server, int(port))

    def _bind(self, server: grpc.aio.Server, port: int) -> int:
        """Raises RuntimeError where the address is taken."""
        address = f"{self._host}:{port}"
        if self._credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, self._credentials)

    async def start(self) -> None:
        """Accepts calls from now on."""
        await self._server.start()
        self._watching = asyncio.create_task(self._watch())

    async def stop(self, grace_s: float) -> None:
        """Accepts no more calls; cancels those that are not done within the time."""
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
