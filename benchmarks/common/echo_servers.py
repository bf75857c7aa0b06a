# SPDX-License-Identifier: Apache-2.0
"""Echo servers, which return the bytes they get: lower bounds of a service's transport.

grpc is the least that a Python gRPC service can be, tcp the least that asyncio can do.
"""

from __future__ import annotations

import asyncio
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal, Self

import grpc

from benchmarks.common.harness import ANSWERED
from genjscc.loadtest.loops import Send
from genjscc.loadtest.mix import Shot

Kind = Literal["grpc", "tcp"]
_LENGTH = struct.Struct(">I")


class _Echo(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if handler_call_details.method.endswith("Stream"):
            return grpc.stream_stream_rpc_method_handler(self._stream)
        return grpc.unary_unary_rpc_method_handler(self._single)

    async def _single(self, request: bytes, _: Any) -> bytes:
        return request

    async def _stream(self, requests: Any, _: Any) -> Any:
        async for request in requests:
            yield request


async def serve_grpc() -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Echo(),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """Read a message with a length prefix."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    return await reader.readexactly(length)


async def write_frame(writer: asyncio.StreamWriter, message: bytes) -> None:
    """Write a message with a length prefix."""
    writer.write(_LENGTH.pack(len(message)) + message)
    await writer.drain()


async def serve_tcp() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await write_frame(writer, await read_frame(reader))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=2**20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class EchoServer:
    """An echo server in its own process.

    Attributes:
        address: host:port.
        pid: of the process.
        started_s: from its start to its port.
    """

    def __init__(self, kind: Kind) -> None:
        began = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, __file__, kind], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None  # noqa: S101 (it is a pipe)
        self.address = f"127.0.0.1:{int(self._process.stdout.readline())}"
        self.pid = self._process.pid
        self.started_s = time.perf_counter() - began

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


@asynccontextmanager
async def tcp_sender(address: str, connections: int) -> AsyncIterator[Send]:
    """Return a function that sends payloads to the TCP echo, one at a time on each connection."""
    host, _, port = address.rpartition(":")
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(connections):
        free.put_nowait(await asyncio.open_connection(host, int(port), limit=2**20))

    async def send(shot: Shot) -> Any:
        reader, writer = await free.get()
        try:
            await write_frame(writer, shot.image)
            await read_frame(reader)
        finally:
            free.put_nowait((reader, writer))
        return ANSWERED

    try:
        yield send
    finally:
        while not free.empty():
            free.get_nowait()[1].close()


if __name__ == "__main__":
    asyncio.run(serve_grpc() if sys.argv[1] == "grpc" else serve_tcp())
