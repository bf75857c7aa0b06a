# SPDX-License-Identifier: Apache-2.0
"""One caller's garbage must not end a service for the others, nor hold them up."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from genjscc.client.channel_options import channel_options
from genjscc.serving.listener import Listener
from genjscc.serving.server import Server
from genjscc.serving.settings import ServiceSettings
from genjscc.v1 import channel_pb2_grpc
from tests.helpers.fake_engines import FakeEngine, answer_of, fake_service, request_for, until
from tests.helpers.raw_http2 import HEADERS, conversation, frames

TRANSMIT = b"/genjscc.v1.ChannelService/Transmit"


async def status_of(port: int, data: bytes) -> bytes:
    """The status that raw bytes are answered with."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    received = b""
    async with asyncio.timeout(100):
        while not any(
            kind == HEADERS and b"grpc-status" in payload
            for kind, _, _, payload in frames(received)
        ):
            part = await reader.read(65_536)
            if not part:
                break
            received += part
    writer.close()
    after = received.rpartition(b"grpc-status")[2]
    return after[1 : 1 + after[0]] if after else b""


FOREIGN_NAMES = (
    b"/genjscc.v1.Channel\x87\xffService/Transmit",
    b"/grpc.health.v1.Health/\xff",
    b"\xff\xfe",
    b"",
    b"/",
    b"/genjscc.v1.ChannelService/\xed\xa0\x80",
)


async def test_a_name_that_is_not_utf8_ends_its_own_call_alone() -> None:
    server = Server(fake_service(FakeEngine()), ServiceSettings(metrics_port=-1))
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as connection:
        stub = channel_pb2_grpc.ChannelServiceStub(connection)
        for name in FOREIGN_NAMES * 5:
            answer = asyncio.create_task(status_of(server.port, conversation(name, b"")))
            # Without retries: nobody else may notice.
            assert answer_of(await stub.Transmit(request_for("x"))) == "<x>"
            assert await answer == b"12"
    assert server.metrics.listener_restarts._value.get() == 0
    await asyncio.wait_for(server.stop(), 100)


FOREIGN_METADATA = {
    "request id DEL": [("x-request-id", b"\x7f")],
    "request id NUL": [("x-request-id", b"\x00")],
    "request id not UTF-8": [("x-request-id", b"\xff\xfe")],
    "trace not UTF-8": [("traceparent", b"\xff\x7f")],
    "user agent": [("user-agent", b"\xff\x7f")],
    "token": [("authorization", b"Bearer \xff\xfe")],
    "binary": [("x-bin", b"!!!!")],
    "timeout": [("grpc-timeout", b"banana")],
    "long timeout": [("grpc-timeout", b"99999999H")],
    "encoding": [("grpc-encoding", b"\xff")],
    "key": [(b"x-\xff", b"1")],
}


@pytest.mark.parametrize("kind", FOREIGN_METADATA)
async def test_metadata_of_any_bytes_is_answered_in_its_own_call(kind: str) -> None:
    server = Server(fake_service(FakeEngine()), ServiceSettings(metrics_port=-1))
    await server.start()
    message = request_for("x").SerializeToString()
    data = conversation(TRANSMIT, message, FOREIGN_METADATA[kind])
    # gRPC's core refuses what it cannot parse with INTERNAL (13); no code of ours has seen it.
    refused_by_core = kind in ("binary", "timeout", "encoding", "key")
    assert await status_of(server.port, data) == (b"13" if refused_by_core else b"0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as connection:
        stub = channel_pb2_grpc.ChannelServiceStub(connection)
        assert answer_of(await stub.Transmit(request_for("x"))) == "<x>"
    assert server.metrics.listener_restarts._value.get() == 0
    await server.stop()


def test_other_texts_are_decoded_as_strictly_as_before() -> None:
    Listener  # its module has been loaded  # noqa: B018
    with pytest.raises(UnicodeDecodeError):
        b"/\xff".decode()
    with pytest.raises(UnicodeEncodeError):
        "\ud800".encode()


class _Breaking:
    """A gRPC server whose loop ends with an error when the test says so."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server
        self.broken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    async def wait_for_termination(self, timeout: float | None = None) -> bool:
        if self.broken:
            raise RuntimeError("its loop has ended")
        return await self._server.wait_for_termination(timeout)


async def test_a_server_that_ceases_to_accept_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine()
    made: list[_Breaking] = []
    original = Server._make_server

    def make(self: Server, calls: Any) -> Any:
        made.append(_Breaking(original(self, calls)))
        return made[-1]

    monkeypatch.setattr(Server, "_make_server", make)
    server = Server(fake_service(engine), ServiceSettings(metrics_port=-1))
    await server.start()
    restarts = server.metrics.listener_restarts._value
    target = f"127.0.0.1:{server.port}"
    async with grpc.aio.insecure_channel(target, options=channel_options()) as connection:
        stub = channel_pb2_grpc.ChannelServiceStub(connection)
        engine.gate.clear()
        accepted = stub.Transmit(request_for("accepted"))
        await asyncio.to_thread(engine.entered.wait, 10)
        made[0].broken = True
        await until(lambda: restarts.get() == 1)
        engine.gate.set()
        # What was under way is finished; whoever comes next is served.
        assert answer_of(await accepted) == "<accepted>"
        assert answer_of(await stub.Transmit(request_for("next"))) == "<next>"
    await asyncio.wait_for(server.stop(), 100)
