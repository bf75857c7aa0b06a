# SPDX-License-Identifier: Apache-2.0
"""The frame around a service, on real sockets with an engine that obeys the test."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from genjscc.client.channel_options import channel_options
from genjscc.client.transport import from_rpc_error
from genjscc.errors import (
    GenJSCCError,
    InvalidInputError,
    ModelNotFoundError,
    OverloadedError,
    UnavailableError,
    error_from_status,
)
from genjscc.serving.context import request_id
from genjscc.serving.logs import JsonFormatter
from genjscc.serving.server import Server
from genjscc.serving.settings import ServiceSettings
from genjscc.serving.status import status_of
from genjscc.v1 import channel_pb2, channel_pb2_grpc
from tests.helpers.fake_engines import NAME, FakeEngine, answer_of, fake_service, request_for, until

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@asynccontextmanager
async def running(engine: FakeEngine, **settings: Any) -> AsyncIterator[tuple[Server, Any]]:
    """A server and a stub."""
    server = Server(fake_service(engine), ServiceSettings(**settings))
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as connection:
            yield server, channel_pb2_grpc.ChannelServiceStub(connection)
    finally:
        engine.gate.set()
        await server.stop()


def value(server: Server, name: str, **labels: str) -> float:
    return server.metrics.registry.get_sample_value(name, labels) or 0.0


async def health(port: int, service: str) -> Any:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as connection:
        request = health_pb2.HealthCheckRequest(service=service)
        return (await health_pb2_grpc.HealthStub(connection).Check(request)).status


async def test_serving_only_when_warm_and_unavailable_before() -> None:
    loading, loaded = threading.Event(), threading.Event()

    def load() -> None:
        loading.set()
        loaded.wait(200)

    server = Server(fake_service(FakeEngine(), load), ServiceSettings())
    starting = asyncio.create_task(server.start())
    await asyncio.to_thread(loading.wait, 10)
    for service in ("", NAME):
        assert await health(server.port, service) == NOT_SERVING
    assert value(server, "genjscc_ready") == 0
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as connection:
        stub = channel_pb2_grpc.ChannelServiceStub(connection)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Transmit(request_for("x"))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        loaded.set()
        await starting
        assert answer_of(await stub.Transmit(request_for("x"))) == "<x>"
    for service in ("", NAME):
        assert await health(server.port, service) == SERVING
    assert value(server, "genjscc_ready") == 1
    await server.stop()
    assert value(server, "genjscc_ready") == 0


def trailers(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    metadata: Any = error.trailing_metadata()
    return dict(metadata)


def status_details(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    """google.rpc's messages by name; their status is that of the call."""
    status = status_pb2.Status.FromString(trailers(error)["grpc-status-details-bin"])
    assert (status.code, status.message) == (error.code().value[0], error.details())
    found = {}
    for packed in status.details:
        name = packed.TypeName().rpartition(".")[2]
        found[name] = getattr(error_details_pb2, name)()
        assert packed.Unpack(found[name])
    return found


async def test_an_answer_tells_its_request_id_too() -> None:
    async with running(FakeEngine()) as (_, stub):
        call = stub.Transmit(request_for("x"), metadata=(("x-request-id", "mine-7"),))
        await call
        assert dict(await call.trailing_metadata())["x-request-id"] == "mine-7"


async def test_known_errors_keep_their_status_and_text() -> None:
    async with running(FakeEngine()) as (server, stub):
        for text in ("refuse", "reject"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Transmit(request_for(text))
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert caught.value.details() == f"text: got '{text}'"
            details = status_details(caught.value)
            assert details["BadRequest"].field_violations[0].field == "text"
            assert details["ErrorInfo"].reason == "INVALID_INPUT"
            given = trailers(caught.value)["x-request-id"]
            assert details["RequestInfo"].request_id == given
            assert len(str(given)) == 32
        counted = {"method": "Transmit", "code": "INVALID_ARGUMENT"}
        await until(lambda: value(server, "genjscc_requests_total", **counted) == 2)


@pytest.mark.parametrize("text", ["crash", "crash-early", "end", "lose"])
async def test_unforeseen_errors_tell_the_request_id_and_nothing_else(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(FakeEngine()) as (server, stub):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Transmit(request_for(text), metadata=(("x-request-id", "my-id"),))
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        details = caught.value.details() or ""
        assert "my-id" in details
        assert "secret" not in details
        assert "Error" not in details
        logged = [r for r in caplog.records if r.message == "unexpected error"]
        assert len(logged) == 1
        assert logged[0].exc_info is not None
        assert answer_of(await stub.Transmit(request_for("x"))) == "<x>"
        counted = {"method": "Transmit", "code": "INTERNAL"}
        assert value(server, "genjscc_requests_total", **counted) == 1


def all_errors(base: type[GenJSCCError] = GenJSCCError) -> list[type[GenJSCCError]]:
    return [base, *(e for child in base.__subclasses__() for e in all_errors(child))]


@pytest.mark.parametrize("kind", all_errors())
def test_every_error_crosses_the_wire(kind: type[GenJSCCError]) -> None:
    error = kind("field", "problem") if kind is InvalidInputError else kind("field: problem")
    code, text = status_of(error)
    assert (code.value[0], code.name) == kind.code
    back = error_from_status(code.value[0], text)
    assert str(back) == str(error) == "field: problem"
    if code is not grpc.StatusCode.INTERNAL:
        assert type(back) is kind


def test_status_texts_fit_into_a_header() -> None:
    code, text = status_of(ModelNotFoundError("x" * 100_000))
    assert code is grpc.StatusCode.NOT_FOUND
    assert len(text) <= 2000


class Lines(logging.Handler):
    """Formats while the call is alive, as the real handler does."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.formatter = JsonFormatter("fake")
        self.entries: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.entries.append(json.loads(self.format(record)))


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-123", True), ("", False), ("x" * 65, False)],
)
async def test_request_ids_reach_the_log_if_they_are_fit_for_it(given: str, kept: bool) -> None:
    lines, logger = Lines(), logging.getLogger("genjscc")
    logger.addHandler(lines)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        async with running(FakeEngine()) as (_, stub):
            metadata = (("x-request-id", given),)
            await stub.Transmit(request_for("x"), metadata=metadata)
            stream = stub.TransmitStream(items("a", "crash"), metadata=metadata)
            assert [a.item_id async for a in stream] == [0, 1]
    finally:
        logger.removeHandler(lines)
        logger.setLevel(level)
    calls = [e for e in lines.entries if e["message"] in ("call", "unexpected error")]
    assert [e.get("method") for e in calls] == ["Transmit", None, "TransmitStream"]
    for entry in calls:
        assert (entry["request_id"] == given) is kept
        assert 0 < len(entry["request_id"]) <= 64
    assert calls[1]["request_id"] == calls[2]["request_id"]
    assert "secret of run" in calls[1]["exception"]
    assert request_id.get() == "-"


async def items(*texts: str) -> AsyncIterator[channel_pb2.TransmitStreamRequest]:
    for index, text in enumerate(texts):
        yield channel_pb2.TransmitStreamRequest(item_id=index, request=request_for(text))


async def test_a_streams_failing_items_leave_the_others() -> None:
    async with running(FakeEngine(), stream_window=4) as (server, stub):
        texts = ["a", "crash", "b", "refuse", "c", "end", "d"]
        answers = [a async for a in stub.TransmitStream(items(*texts))]
        assert [a.item_id for a in answers] == list(range(7))
        for text, answer in zip(texts, answers, strict=True):
            if len(text) == 1:
                assert answer_of(answer.response) == f"<{text}>"
            else:
                assert answer.error.code == (3 if text == "refuse" else 13)
                assert "secret" not in answer.error.message
        for code, count in (("OK", 4), ("INTERNAL", 2), ("INVALID_ARGUMENT", 1)):
            labels = {"method": "TransmitStream", "code": code}
            assert value(server, "genjscc_stream_items_total", **labels) == count
        counted = {"method": "TransmitStream", "code": "OK"}
        await until(lambda: value(server, "genjscc_requests_total", **counted) == 1)


@pytest.mark.parametrize("moment", ["computing", "answering", "idle"])
async def test_a_cancelled_stream_stops_and_is_counted(moment: str) -> None:
    engine = FakeEngine()
    if moment == "computing":
        engine.gate.clear()
    async with running(engine, stream_window=4) as (server, stub):

        async def source() -> AsyncIterator[channel_pb2.TransmitStreamRequest]:
            count = 0
            while moment != "idle" or count < 3:
                yield channel_pb2.TransmitStreamRequest(item_id=count, request=request_for("x"))
                count += 1
            await asyncio.sleep(3600)

        stream = stub.TransmitStream(source())
        if moment == "computing":
            await asyncio.to_thread(engine.entered.wait, 10)
        else:
            for _ in range(3):
                await stream.read()
        stream.cancel()
        engine.gate.set()
        labels = {"method": "TransmitStream"}
        await until(lambda: value(server, "genjscc_in_flight_requests", **labels) == 0)

        def finished(*codes: str) -> float:
            return sum(value(server, "genjscc_requests_total", **labels, code=c) for c in codes)

        # Where nothing was under way, gRPC may report the end of the requests before the end of
        # the call: that one looks like a caller who was done.
        await until(lambda: finished("CANCELLED", *(["OK"] if moment == "idle" else [])) == 1)
        batches = len(engine.batches)
        await asyncio.sleep(0.05)
        assert len(engine.batches) == batches
        assert answer_of(await stub.Transmit(request_for("x"))) == "<x>"


async def test_a_passed_deadline_takes_its_item_out_of_the_queue() -> None:
    engine = FakeEngine()
    engine.gate.clear()
    async with running(engine) as (server, stub):
        first = stub.Transmit(request_for("first"))
        await asyncio.to_thread(engine.entered.wait, 10)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Transmit(request_for("late"), timeout=0.2)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: len(server.dispatcher._queue) == 0)
        engine.gate.set()
        await first
        assert engine.batches == [["first"]]
        reasons = [server.metrics.dropped.labels(r)._value.get() for r in ("deadline", "cancelled")]
        assert sum(reasons) == 1


async def test_overload_has_its_own_status() -> None:
    engine = FakeEngine()
    engine.gate.clear()
    async with running(engine, queue_size=3) as (server, stub):
        first = stub.Transmit(request_for("first"))
        await asyncio.to_thread(engine.entered.wait, 10)
        waiting = [stub.Transmit(request_for(t)) for t in "ab"]
        await until(lambda: len(server.dispatcher._queue) == 2)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Transmit(request_for("c"))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        back = from_rpc_error(caught.value, "channel", "here")
        assert isinstance(back, OverloadedError)
        assert back.retry_after_s is not None
        assert 0 < back.retry_after_s < 20
        delay = status_details(caught.value)["RetryInfo"].retry_delay
        assert delay.ToTimedelta().total_seconds() == pytest.approx(back.retry_after_s)
        refused = server.metrics.rejected.labels("queue")._value.get()
        assert refused == 1
        engine.gate.set()
        await asyncio.gather(first, *waiting)


async def test_a_call_without_a_request_is_told_so() -> None:
    async with running(FakeEngine(), queue_size=1, arrival_s=0.2) as (server, stub):
        target = f"127.0.0.1:{server.port}"
        async with grpc.aio.insecure_channel(target) as connection:
            # Nothing but a client that does not know the method's kind does that.
            method = connection.stream_unary("/genjscc.v1.ChannelService/Transmit")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await method(iter([]))
            assert caught.value.details() == "request: is missing"
            # One that only holds a slot loses it.
            holding = method()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await holding
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert answer_of(await stub.Transmit(request_for("x"))) == "<x>"


async def test_a_client_with_a_retry_policy_comes_again_when_it_was_told_to() -> None:
    engine = FakeEngine()
    engine.gate.clear()
    async with running(engine, queue_size=1) as (server, stub):
        first = stub.Transmit(request_for("first"))
        await asyncio.to_thread(engine.entered.wait, 10)
        target = f"127.0.0.1:{server.port}"
        async with grpc.aio.insecure_channel(target, options=channel_options()) as connection:
            second = channel_pb2_grpc.ChannelServiceStub(connection).Transmit(request_for("second"))
            refused = server.metrics.rejected.labels("queue")._value
            await until(lambda: refused.get() >= 1)
            engine.gate.set()
            assert answer_of(await second) == "<second>"
        await first


async def test_single_calls_are_served_beside_greedy_streams() -> None:
    async with running(FakeEngine(), queue_size=2, stream_queue_size=2) as (server, stub):
        target = f"127.0.0.1:{server.port}"
        async with grpc.aio.insecure_channel(target) as other:
            greedy = channel_pb2_grpc.ChannelServiceStub(other)
            streams = [greedy.TransmitStream(endless_items()) for _ in range(8)]
            for stream in streams:
                await stream.read()
            for _ in range(30):  # one after the other: never refused
                assert answer_of(await stub.Transmit(request_for("x"))) == "<x>"
            for stream in streams:
                stream.cancel()


async def endless_items() -> AsyncIterator[channel_pb2.TransmitStreamRequest]:
    while True:
        yield channel_pb2.TransmitStreamRequest(request=request_for("greedy"))


async def test_a_stream_waits_for_its_turn_instead_of_failing() -> None:
    # Flow control is what a stream has: a full queue slows it down.
    async with running(FakeEngine(), stream_queue_size=2, stream_window=16) as (_, stub):
        texts = [f"x{i}:{i % 5}" for i in range(40)]
        streams = [stub.TransmitStream(items(*texts)) for _ in range(3)]

        async def collect(stream: Any) -> list[str]:
            return [answer_of(a.response) async for a in stream]

        for got in await asyncio.gather(*(collect(s) for s in streams)):
            assert got == [f"<{t}>" for t in texts]


async def test_metrics_page_counts_what_happened() -> None:
    async with running(FakeEngine()) as (server, stub):
        for text in ("a", "b", "crash"):
            await asyncio.gather(stub.Transmit(request_for(text)), return_exceptions=True)
        url = f"http://127.0.0.1:{server.metrics_port}/metrics"
        page = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read().decode())
        samples = {
            (s.name, *sorted(s.labels.values())): s.value
            for family in text_string_to_metric_families(page)
            for s in family.samples
        }
        assert samples["genjscc_requests_total", "OK", "Transmit"] == 2
        assert samples["genjscc_requests_total", "INTERNAL", "Transmit"] == 1
        assert samples["genjscc_request_seconds_count", "Transmit"] == 3
        assert samples["genjscc_batch_size_count",] == 3
        assert samples["genjscc_in_flight_requests", "Transmit"] == 0
        assert samples["genjscc_queue_wait_seconds_count",] == 3
        received = samples["genjscc_received_bytes_total", "Transmit"]
        assert received == sum(len(request_for(t).SerializeToString()) for t in ("a", "b", "crash"))
        assert samples["genjscc_sent_bytes_total", "Transmit"] > 0
        assert samples["process_resident_memory_bytes",] > 0
        assert samples["genjscc_ready",] == 1


async def test_stopping_lets_accepted_calls_end_and_refuses_new_ones() -> None:
    engine = FakeEngine()
    engine.gate.clear()
    server = Server(fake_service(engine), ServiceSettings(grace_s=20.0))
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as connection:
        stub = channel_pb2_grpc.ChannelServiceStub(connection)
        accepted = stub.Transmit(request_for("accepted"))
        await asyncio.to_thread(engine.entered.wait, 10)
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0.1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Transmit(request_for("new"), timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        engine.gate.set()
        assert answer_of(await accepted) == "<accepted>"
        await asyncio.wait_for(stopping, 100)


async def test_stopping_ends_open_streams_when_they_are_answered() -> None:
    engine = FakeEngine()
    server = Server(fake_service(engine), ServiceSettings(grace_s=3600.0))
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as connection:
        stub = channel_pb2_grpc.ChannelServiceStub(connection)
        stream = stub.TransmitStream(endless_items())
        assert answer_of((await stream.read()).response) == "<greedy>"
        # An idle one as well: it would last as long as its caller likes.
        idle = stub.TransmitStream()
        await idle.write(channel_pb2.TransmitStreamRequest(request=request_for("idle")))
        assert answer_of((await idle.read()).response) == "<idle>"
        stopping = asyncio.create_task(server.stop())
        for open_stream in (stream, idle):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asyncio.wait_for(drained(open_stream), 100)
            # Who is just writing may be told of a lost connection instead.
            assert isinstance(from_rpc_error(caught.value, "channel", "here"), UnavailableError)
        assert "shutting down" in (caught.value.details() or "")
        await asyncio.wait_for(stopping, 100)


async def drained(stream: Any) -> None:
    while await stream.read() is not grpc.aio.EOF:
        pass


async def test_a_watched_health_does_not_hold_up_the_stop() -> None:
    server = Server(fake_service(FakeEngine()), ServiceSettings(grace_s=3600.0))
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as connection:
        watching = health_pb2_grpc.HealthStub(connection).Watch(health_pb2.HealthCheckRequest())
        assert (await watching.read()).status == SERVING
        stopping = asyncio.create_task(server.stop())
        assert (await watching.read()).status == NOT_SERVING
        await asyncio.wait_for(stopping, 100)


async def test_a_second_server_on_a_port_is_refused_in_one_line() -> None:
    async with running(FakeEngine()) as (server, _):
        second = Server(fake_service(FakeEngine()), ServiceSettings(port=server.port))
        with pytest.raises(GenJSCCError, match=rf"cannot listen on 127.0.0.1:{server.port}"):
            await second.start()
        await second.stop()
        busy = ServiceSettings(metrics_port=server.metrics_port)
        third = Server(fake_service(FakeEngine()), busy)
        with pytest.raises(GenJSCCError, match=rf"metrics port {server.metrics_port}"):
            await third.start()
        await third.stop()
