# SPDX-License-Identifier: Apache-2.0
"""A stream that outlives its replicas: each request is settled once, whatever they do."""

from __future__ import annotations

import asyncio
import signal
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from genjscc.client import resumable
from genjscc.client.channel_options import channel_options
from genjscc.client.resumable import ResumableStream
from genjscc.client.transport import from_rpc_error
from genjscc.errors import (
    AccessError,
    DeadlineError,
    GenJSCCError,
    InvalidInputError,
    RemoteError,
    UnavailableError,
)
from genjscc.serving.server import Server
from genjscc.serving.settings import ServiceSettings
from genjscc.v1 import channel_pb2, channel_pb2_grpc, codeword_pb2
from genjscc.wire.tensors import complex_to_message
from tests.helpers.fake_engines import FakeEngine, answer_of, fake_service, request_for
from tests.helpers.real_services import ServiceProcess
from tests.helpers.tcp_proxy import tcp_proxy


class Ends:
    """Notes what becomes of each request, and that it does once."""

    def __init__(self) -> None:
        self.all: dict[int, str | GenJSCCError] = {}

    def answered(self, index: int, response: Any) -> None:
        assert index not in self.all
        self.all[index] = answer_of(response)

    def failed(self, index: int, error: GenJSCCError) -> None:
        assert index not in self.all
        self.all[index] = error

    async def reach(self, count: int) -> None:
        while len(self.all) < count:
            await asyncio.sleep(0.002)

    def errors(self) -> list[GenJSCCError]:
        return [end for end in self.all.values() if not isinstance(end, str)]


def message(index: int, text: str = "") -> channel_pb2.TransmitStreamRequest:
    request = request_for(text or f"item{index}")
    return channel_pb2.TransmitStreamRequest(item_id=index, request=request)


@asynccontextmanager
async def streaming(
    *ports: int, timeout_s: float = 20.0, ends: Ends | None = None
) -> AsyncIterator[tuple[ResumableStream[Any], Ends]]:
    """A running stream to whoever listens on the ports."""
    target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    ends = ends or Ends()
    async with grpc.aio.insecure_channel(target, options=channel_options()) as connection:

        async def connected() -> None:
            while (state := connection.get_state(True)) is not grpc.ChannelConnectivity.READY:
                await connection.wait_for_state_change(state)

        stream: ResumableStream[Any] = ResumableStream(
            "channel at test",
            channel_pb2_grpc.ChannelServiceStub(connection).TransmitStream,
            connected,
            partial(from_rpc_error, role="channel", address="test"),
            ends,
            timeout_s,
        )
        running = asyncio.create_task(stream.run())
        try:
            yield stream, ends
            stream.finish()
            await asyncio.wait_for(running, 100)
        finally:
            running.cancel()


@asynccontextmanager
async def serving(engine: FakeEngine, **settings: Any) -> AsyncIterator[Server]:
    server = Server(fake_service(engine), ServiceSettings(metrics_port=-1, **settings))
    await server.start()
    try:
        yield server
    finally:
        engine.gate.set()
        await server.stop()


async def test_a_replica_that_shuts_down_hands_over_without_losing_anything() -> None:
    engines = [FakeEngine(), FakeEngine()]
    async with (
        serving(engines[0]) as first,
        serving(engines[1]) as second,
        streaming(first.port, second.port) as (stream, ends),
    ):
        servers = {0: first, 1: second}
        for start in (0, 100):
            for index in range(start, start + 100):
                stream.submit(index, message(index))
            await ends.reach(start + 20)
            if start == 0:  # the one that is in use; the other takes over
                busy = max(servers, key=lambda i: len(engines[i].batches))
                await servers[busy].stop()
        await ends.reach(200)
    assert ends.all == {index: f"<item{index}>" for index in range(200)}
    assert all(engine.batches for engine in engines)
    # What had been begun was finished where it was, but for a batch whose answers met the end.
    batches = [batch for engine in engines for batch in engine.batches]
    computed = [item for batch in batches for item in batch]
    assert len(computed) - len(set(computed)) <= max(len(batch) for batch in batches)


async def test_a_service_that_comes_back_is_met_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable, "FIRST_CONTACT_S", 0.4)
    async with serving(FakeEngine()) as server:
        port = server.port
    async with streaming(port, timeout_s=0.4) as (stream, ends):
        stream.submit(0, message(0))
        await ends.reach(1)
        # It is known to be away: no need to wait for each.
        for index in range(1, 50):
            stream.submit(index, message(index))
        await ends.reach(50)
        assert len(ends.errors()) == 50
        assert all(isinstance(error, UnavailableError) for error in ends.errors())
        assert "channel at test" in str(ends.all[0])
        async with serving(FakeEngine(), port=port):
            index = 50
            while not isinstance(ends.all.get(index - 1), str):
                stream.submit(index, message(index))
                index += 1
                await ends.reach(index)
                await asyncio.sleep(0.05)


async def test_a_silent_service_is_given_up_and_tried_again() -> None:
    engine = FakeEngine()
    engine.gate.clear()
    async with serving(engine) as server, streaming(server.port, timeout_s=0.5) as (stream, ends):
        stream.submit(0, message(0))
        stream.submit(1, message(1))
        await ends.reach(2)
        assert [type(error) for error in ends.errors()] == [DeadlineError] * 2
        assert "no answer for 0.5 s, 2 images waiting" in str(ends.all[0])
        engine.gate.set()
        stream.submit(2, message(2))
        await ends.reach(3)
        assert ends.all[2] == "<item2>"


async def test_an_idle_stream_is_not_taken_for_a_silent_one() -> None:
    async with serving(FakeEngine()) as server, streaming(server.port, timeout_s=1.0) as (s, ends):
        for index in range(2):
            s.submit(index, message(index))
            await ends.reach(index + 1)
            await asyncio.sleep(1.2)
    assert ends.errors() == []


async def test_errors_of_items_and_of_streams_are_told_at_once() -> None:
    async with serving(FakeEngine()) as server, streaming(server.port) as (stream, ends):
        for index, text in enumerate(["good", "refuse", "crash"]):
            stream.submit(index, message(index, text))
        await ends.reach(3)
    assert ends.all[0] == "<good>"
    assert [type(error) for error in ends.errors()] == [InvalidInputError, RemoteError]
    async with (
        serving(FakeEngine(), token="secret") as server,
        streaming(server.port) as (stream, ends),
    ):
        for index in range(100):
            stream.submit(index, message(index))
        await ends.reach(100)
        assert [type(error) for error in ends.errors()] == [AccessError] * 100


async def test_a_stream_that_finds_no_place_waits_for_one() -> None:
    async with (
        serving(FakeEngine(), max_streams=1) as server,
        streaming(server.port) as (second, ends),
    ):
        async with streaming(server.port) as (first, others):
            first.submit(0, message(0))
            await others.reach(1)
            second.submit(0, message(0))
            await asyncio.sleep(0.1)
            assert ends.all == {}
        await ends.reach(1)
    assert ends.all == {0: "<item0>"}


class Odd(channel_pb2_grpc.ChannelServiceServicer):
    """A service that another hand wrote."""

    def __init__(self, behaviour: Callable[[Any], AsyncIterator[Any]]) -> None:
        self._behaviour = behaviour

    async def TransmitStream(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
        async for answer in self._behaviour(request_iterator):
            yield answer


async def half(requests: Any) -> AsyncIterator[Any]:
    """Answers one request of each call and ends it as if all was well."""
    async for item in requests:
        yield channel_pb2.TransmitStreamResponse(item_id=item.item_id)
        return


async def stranger(requests: Any) -> AsyncIterator[Any]:
    async for item in requests:
        yield channel_pb2.TransmitStreamResponse(item_id=item.item_id + 1000)


@pytest.mark.parametrize("behaviour", [half, stranger])
async def test_a_service_that_does_not_keep_to_the_protocol(
    behaviour: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resumable, "_WELCOME_S", 0.05)
    server = grpc.aio.server()
    channel_pb2_grpc.add_ChannelServiceServicer_to_server(Odd(behaviour), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with streaming(port) as (stream, ends):
        for index in range(5):
            stream.submit(index, message(index))
        await ends.reach(5)
    await server.stop(0)
    if behaviour is half:
        assert ends.errors() == []
    else:
        assert [type(error) for error in ends.errors()] == [RemoteError] * 5
        assert "answered item 1000, which is not open" in str(ends.all[0])


async def test_a_replica_behind_a_connection_that_falls_silent_is_replaced() -> None:
    rooms = [FakeEngine(), FakeEngine()]
    async with (
        serving(rooms[0]) as first,
        serving(rooms[1]) as second,
        tcp_proxy(first.port) as one,
        tcp_proxy(second.port) as other,
        streaming(one.port, other.port, timeout_s=60.0) as (stream, ends),
    ):
        for index in range(8):
            stream.submit(index, message(index))
        await ends.reach(8)
        carrier = one if rooms[0].batches else other
        carrier.silent = True
        for index in range(8, 72):
            stream.submit(index, message(index))
        started = time.monotonic()
        await ends.reach(72)
        assert time.monotonic() - started < 40  # 60 s and 64 errors without pings
        assert ends.errors() == []


async def test_single_calls_in_a_row_outlive_a_replica_that_falls_silent() -> None:
    async with (
        serving(FakeEngine()) as first,
        serving(FakeEngine()) as second,
        tcp_proxy(first.port) as one,
    ):
        target = f"ipv4:127.0.0.1:{one.port},127.0.0.1:{second.port}"
        async with grpc.aio.insecure_channel(target, options=channel_options()) as connection:
            stub = channel_pb2_grpc.ChannelServiceStub(connection)
            for index in range(20):
                await stub.Transmit(request_for(f"x{index}"), timeout=100, wait_for_ready=True)
            one.silent = True
            # The call that meets the silence takes as long as a ping; those after it do not.
            slowest, quick = 0.0, 0
            while slowest < 2 or quick < 40:
                started = time.monotonic()
                await stub.Transmit(request_for("y"), timeout=60)
                slowest = max(slowest, time.monotonic() - started)
                quick = quick + 1 if slowest >= 2 else 0
                await asyncio.sleep(0.05)
            assert slowest < 40  # 60 s and an error without pings


def test_a_replica_that_is_stopped_for_good_is_replaced(tmp_path: Path) -> None:
    with (
        ServiceProcess("channel", log=tmp_path / "one") as one,
        ServiceProcess("channel", log=tmp_path / "other") as other,
    ):
        try:
            asyncio.run(outlive_a_stop(one, other))
        finally:
            for replica in (one, other):
                replica.process.send_signal(signal.SIGCONT)


async def outlive_a_stop(one: ServiceProcess, other: ServiceProcess) -> None:
    ends = Seeds()
    ports = [int(replica.address.rpartition(":")[2]) for replica in (one, other)]
    async with streaming(*ports, timeout_s=60.0, ends=ends) as (stream, _):
        for index in range(20):
            stream.submit(index, codeword(index))
        await ends.reach(20)
        carrier = max((one, other), key=items_of)
        carrier.process.send_signal(signal.SIGSTOP)
        for index in range(20, 84):
            stream.submit(index, codeword(index))
        await ends.reach(84)
        assert ends.errors() == []
        assert ends.all == {index: str(index) for index in range(84)}


class Seeds(Ends):
    """Notes the seeds of real answers."""

    def answered(self, index: int, response: Any) -> None:
        assert index not in self.all
        self.all[index] = str(response.seed)


def codeword(index: int) -> channel_pb2.TransmitStreamRequest:
    symbols = complex_to_message(np.ones(16, np.complex64))
    request = channel_pb2.TransmitRequest(
        codeword=codeword_pb2.Codeword(symbols=symbols), snr_db=0.0, seed=index
    )
    return channel_pb2.TransmitStreamRequest(item_id=index, request=request)


def items_of(service: ServiceProcess) -> int:
    with urllib.request.urlopen(service.metrics_url, timeout=100) as page:
        lines = page.read().decode().splitlines()
    counts = [line for line in lines if line.startswith("genjscc_stream_items_total{")]
    return sum(int(float(line.split()[-1])) for line in counts)
