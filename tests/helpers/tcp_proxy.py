# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy that can fall silent: no reset, no answer, as a cable that was pulled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class TcpProxy:
    """Between clients and one port of this machine.

    Attributes:
        silent: pass nothing on in either direction, and keep all connections open.
        connections: how many there have been.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self.silent = False
        self.connections = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        writers = [writer]
        try:
            away_reader, away_writer = await asyncio.open_connection("127.0.0.1", self._target)
            writers.append(away_writer)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(reader, away_writer))
                both.create_task(self._pass_on(away_reader, writer))
        finally:
            for one in writers:
                one.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                while self.silent:
                    await asyncio.sleep(0.05)
                writer.write(data)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def tcp_proxy(target: int) -> AsyncIterator[TcpProxy]:
    """Listens on a free port until the end of the block."""
    proxy = TcpProxy(target)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(proxy.serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
