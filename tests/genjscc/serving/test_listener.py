# SPDX-License-Identifier: Apache-2.0
"""One caller's garbage must not end a service for the others."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from genjscc.client.channel_options import channel_options
from genjscc.serving.server import Server
from genjscc.serving.settings import ServiceSettings
from genjscc.v1 import channel_pb2_grpc
from tests.helpers.fake_engines import FakeEngine, answer_of, fake_service, request_for
from tests.helpers.raw_http2 import conversation

pytestmark = pytest.mark.timeout(60)
# grpcio's loop that accepts calls does not survive the decoding of this one.
NOT_UTF8 = conversation(b"/genjscc.v1.Channel\x87\xffService/Transmit", b"")


async def send_bytes(port: int, data: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    writer.write_eof()
    await reader.read()
    writer.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_name_that_is_not_utf8_does_not_end_the_service() -> None:
    engine = FakeEngine()
    server = Server(fake_service(engine), ServiceSettings(metrics_port=-1))
    await server.start()
    restarts = server.metrics.listener_restarts._value
    target = f"127.0.0.1:{server.port}"
    async with grpc.aio.insecure_channel(target, options=channel_options()) as connection:
        stub = channel_pb2_grpc.ChannelServiceStub(connection)
        for attack in range(1, 4):
            engine.gate.clear()
            engine.entered.clear()
            accepted = stub.Transmit(request_for("accepted"))
            await asyncio.to_thread(engine.entered.wait, 10)
            await send_bytes(server.port, NOT_UTF8)
            while restarts.get() < attack:
                await asyncio.sleep(0.01)
            engine.gate.set()
            # What was under way is finished; whoever comes next is served.
            assert answer_of(await accepted) == "<accepted>"
            assert answer_of(await stub.Transmit(request_for("next"))) == "<next>"
    await asyncio.wait_for(server.stop(), 20)
