# SPDX-License-Identifier: Apache-2.0
"""One caller who asks for much, or for nothing, must not keep the others out."""

from __future__ import annotations

import asyncio
import gzip
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from genjscc.client.channel_options import channel_options
from genjscc.serving.health import MOST_WATCHES
from genjscc.serving.scheduling import admission, dispatcher
from genjscc.serving.scheduling.admission import Admission
from genjscc.serving.server import Server
from genjscc.serving.settings import ServiceSettings
from genjscc.v1 import channel_pb2, channel_pb2_grpc
from tests.helpers.fake_engines import FakeEngine, answer_of, fake_service, request_for, until
from tests.helpers.raw_http2 import (
    DATA,
    END_HEADERS,
    HEADERS,
    RST_STREAM,
    frame,
    header_block,
    opening,
)

TRANSMIT = "/genjscc.v1.ChannelService/Transmit"


@asynccontextmanager
async def serving(engine: FakeEngine | None = None, **settings: Any) -> AsyncIterator[Server]:
    server = Server(
        fake_service(engine or FakeEngine()), ServiceSettings(metrics_port=-1, **settings)
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def connected(server: Server, *options: tuple[str, Any]) -> AsyncIterator[Any]:
    # A connection of its own for each: gRPC shares those with equal options.
    given = [("grpc.use_local_subchannel_pool", 1), *options]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=given) as connection:
        yield connection


def evictions(server: Server) -> float:
    return float(server.metrics.rejected.labels("idle")._value.get())


async def in_flight(server: Server, method: str, count: int) -> None:
    gauge = server.metrics.in_flight.labels(method)._value
    await until(lambda: gauge.get() == count)


async def test_no_connection_has_all_slots() -> None:
    async with serving(queue_size=8) as server, connected(server) as greedy:
        empty = [greedy.stream_unary(TRANSMIT)() for _ in range(20)]
        await asyncio.sleep(0.5)
        async with connected(server) as other:
            stub = channel_pb2_grpc.ChannelServiceStub(other)
            for _ in range(5):
                assert answer_of(await stub.Transmit(request_for("x"))) == "<x>"
        for call in empty:
            call.cancel()


@pytest.mark.parametrize("kind", ["calls", "streams"])
async def test_who_lets_the_service_wait_loses_the_slot_to_others(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "_SPARED_S", 0.05)
    name = "Transmit" if kind == "calls" else "TransmitStream"
    async with serving(queue_size=8, max_streams=8) as server, AsyncExitStack() as stack:
        silent = []
        for _ in range(2):
            connection = await stack.enter_async_context(connected(server))
            if kind == "calls":
                silent += [connection.stream_unary(TRANSMIT)() for _ in range(4)]
            else:
                stub = channel_pb2_grpc.ChannelServiceStub(connection)
                silent += [stub.TransmitStream() for _ in range(4)]
        await in_flight(server, name, 8)
        await asyncio.sleep(0.3)
        other = await stack.enter_async_context(connected(server))
        stub = channel_pb2_grpc.ChannelServiceStub(other)
        if kind == "calls":
            assert answer_of(await stub.Transmit(request_for("x"))) == "<x>"
        else:
            stream = stub.TransmitStream(items("x", "y"))
            assert [answer_of(a.response) async for a in stream] == ["<x>", "<y>"]
        assert evictions(server) == 1
        await until(lambda: sum(call.done() for call in silent) == 1)
        ended = [call for call in silent if call.done()]
        assert [await call.code() for call in ended] == [grpc.StatusCode.RESOURCE_EXHAUSTED]
        for call in silent:
            call.cancel()


async def items(*texts: str) -> AsyncIterator[channel_pb2.TransmitStreamRequest]:
    for text in texts:
        yield channel_pb2.TransmitStreamRequest(request=request_for(text))


async def test_a_stream_is_not_silent_while_its_item_is_in_work() -> None:
    engine = FakeEngine()
    async with serving(engine, stream_silence_s=0.4) as server, connected(server) as connection:
        stream = channel_pb2_grpc.ChannelServiceStub(connection).TransmitStream()
        engine.gate.clear()
        await stream.write(channel_pb2.TransmitStreamRequest(request=request_for("slow")))
        await asyncio.sleep(1.0)
        engine.gate.set()
        assert answer_of((await stream.read()).response) == "<slow>"
        assert await asyncio.wait_for(stream.code(), 100) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "silent" in await stream.details()


def test_the_oldest_of_the_greediest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_SPARED_S", 0.0)
    gone: list[str] = []
    slots = Admission(calls=5, items=1, streams=1)
    for peer, name in (("a", "a1"), ("b", "b1"), ("b", "b2"), ("c", "c1"), ("b", "b3")):
        slot = slots.enter_call(peer)
        if name != "b1":
            slot.wait(lambda name=name: gone.append(name))  # type: ignore[misc]
    slots.enter_call("d")
    assert gone == ["b2"]
    slots.enter_call("d")
    assert gone[1] in ("a1", "b3", "c1")


async def test_answers_that_nobody_takes_are_bounded_by_their_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatcher, "_MOST_STREAM_BYTES", 1000)
    async with serving() as server:
        begun = 0

        async def source() -> AsyncIterator[int]:
            for index in range(50):
                yield index

        async def answer(item: int, _: Any) -> int:
            nonlocal begun
            begun += 1
            return item

        answers = server.dispatcher.answer_stream(source(), lambda _: None, answer, lambda _: 400)
        taken = [await anext(answers)]
        await asyncio.sleep(0.2)
        assert begun <= 4
        taken += [item async for item in answers]
        assert taken == list(range(50))


async def test_compressed_messages_are_refused() -> None:
    body = gzip.compress(bytes(30 * 1024 * 1024))
    message = b"\x01" + struct.pack(">I", len(body)) + body
    headers = header_block(TRANSMIT, [("grpc-encoding", b"gzip")])
    async with serving() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(opening() + frame(HEADERS, END_HEADERS, 1, headers))
        for at in range(0, len(message), 16_000):
            writer.write(frame(DATA, 0, 1, message[at : at + 16_000]))
        async with asyncio.timeout(100):
            answer = await reader.readuntil(b"grpc-status")
            answer += await reader.readexactly(3)
        assert answer[-3:] == b"\x0212"
        writer.close()


async def test_calls_that_are_opened_and_reset_do_not_disturb_others() -> None:
    async with serving() as server, connected(server) as connection:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(opening())

        async def attack() -> None:
            for number in range(3000):
                stream = 2 * number + 1
                writer.write(frame(HEADERS, END_HEADERS, stream, header_block(TRANSMIT)))
                writer.write(frame(RST_STREAM, 0, stream, struct.pack(">I", 8)))
                if not number % 50:
                    await writer.drain()
                    await asyncio.sleep(0)

        attacking = asyncio.create_task(attack())
        stub = channel_pb2_grpc.ChannelServiceStub(connection)
        for _ in range(30):
            assert answer_of(await stub.Transmit(request_for("x"))) == "<x>"
        attacking.cancel()
        await asyncio.gather(attacking, return_exceptions=True)
        writer.close()
        del reader


async def test_a_burst_of_calls_is_answered_or_refused() -> None:
    codes: Counter[str] = Counter()
    async with serving(FakeEngine()) as server, AsyncExitStack() as stack:
        stubs = [
            channel_pb2_grpc.ChannelServiceStub(await stack.enter_async_context(connected(server)))
            for _ in range(4)
        ]
        calls = [stubs[n % 4].Transmit(request_for("x"), timeout=200) for n in range(3000)]
        for call in calls:
            codes[(await call.code()).name] += 1
    assert codes["OK"] > 0
    assert set(codes) <= {"OK", "RESOURCE_EXHAUSTED"}


async def test_watches_of_one_connection_are_bounded() -> None:
    async with serving() as server, connected(server) as connection:
        stub, request = health_pb2_grpc.HealthStub(connection), health_pb2.HealthCheckRequest()
        watches = [stub.Watch(request) for _ in range(MOST_WATCHES)]
        for watch in watches:
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        assert await stub.Watch(request).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        async with connected(server) as other:
            watch = health_pb2_grpc.HealthStub(other).Watch(request)
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            watch.cancel()
        for watch in watches:
            watch.cancel()


async def test_calls_that_a_service_drops_are_tried_again() -> None:
    tried = 0

    async def transmit(_: Any, context: Any) -> Any:
        nonlocal tried
        tried += 1
        if tried == 1:
            await context.abort(grpc.StatusCode.CANCELLED, "dropped")
        return channel_pb2.TransmitResponse(seed=7)

    handler = grpc.unary_unary_rpc_method_handler(
        transmit,
        request_deserializer=channel_pb2.TransmitRequest.FromString,
        response_serializer=channel_pb2.TransmitResponse.SerializeToString,
    )
    server = grpc.aio.server()
    service = {"Transmit": handler}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("genjscc.v1.ChannelService", service),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    target = f"127.0.0.1:{port}"
    async with grpc.aio.insecure_channel(target, options=channel_options()) as connection:
        stub = channel_pb2_grpc.ChannelServiceStub(connection)
        assert (await stub.Transmit(request_for("x"), timeout=100)).seed == 7
    await server.stop(0)
    assert tried == 2
