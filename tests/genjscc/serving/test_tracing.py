# SPDX-License-Identifier: Apache-2.0
"""One trace holds the whole way of an image: the client's span and those of three services."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from channel.service import channel_service
from genjscc import AsyncLink, Reception
from genjscc.errors import InvalidInputError
from genjscc.serving import server as server_module
from genjscc.serving.server import Server
from genjscc.serving.settings import ChannelSettings, ReceiverSettings, TransmitterSettings
from genjscc.serving.tracing import OpenTelemetryTracer
from receiver.service import receiver_service
from tests.helpers.pictures import gradient
from transmitter.service import transmitter_service

METHODS = {
    "genjscc.v1.TransmitterService/Encode",
    "genjscc.v1.ChannelService/Transmit",
    "genjscc.v1.ReceiverService/Decode",
}


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """The global provider can be set once in a process."""
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    trace.set_tracer_provider(provider)
    return kept


@pytest.fixture
def spans(exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter.clear()
    monkeypatch.setattr(
        server_module, "make_tracer", lambda role, *, enabled: OpenTelemetryTracer().span
    )
    return exporter


async def open_link(stack: AsyncExitStack, bundles: Path) -> AsyncLink:
    models: dict[str, Any] = {"bundles": bundles, "metrics_port": -1}
    services = {
        "transmitter": transmitter_service(TransmitterSettings(**models)),
        "channel": channel_service(ChannelSettings()),
        "receiver": receiver_service(ReceiverSettings(**models)),
    }
    addresses = {}
    for role, service in services.items():
        server = Server(service, ChannelSettings(metrics_port=-1))
        await server.start()
        stack.push_async_callback(server.stop)
        addresses[role] = f"127.0.0.1:{server.port}"
    return await stack.enter_async_context(AsyncLink(**addresses))


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    finished = exporter.get_finished_spans()
    named = {span.name: span for span in finished}
    assert len(named) == len(finished)
    return named


async def test_the_whole_way_is_one_trace(spans: InMemorySpanExporter, bundles: Path) -> None:
    async with AsyncExitStack() as stack:
        link = await open_link(stack, bundles)
        await link.send(gradient(), seed=1)
        sent = by_name(spans)
        spans.clear()
        outcomes = [o async for o in link.send_many([gradient()] * 3, seed=1)]
        assert all(isinstance(outcome, Reception) for outcome in outcomes)
        with pytest.raises(InvalidInputError):
            await link.send(b"no image", seed=1)
    root = sent.pop("genjscc.send")
    assert root.parent is None
    assert sent.keys() == METHODS
    for span in sent.values():
        assert span.parent is not None
        assert span.parent.span_id == root.context.span_id
        assert span.context.trace_id == root.context.trace_id
        assert span.kind is trace.SpanKind.SERVER
        assert root.start_time <= span.start_time <= span.end_time <= root.end_time
        attributes = dict(span.attributes or {})
        assert attributes["genjscc.request_id"] == dict(root.attributes or {})["genjscc.request_id"]
        assert attributes["genjscc.status"] == "OK"
    many = by_name(spans)
    assert {f"{name}Stream" for name in METHODS} < many.keys()
    failed = many["genjscc.v1.TransmitterService/Encode"]
    assert failed.status.status_code is trace.StatusCode.ERROR
    assert dict(failed.attributes or {})["genjscc.status"] == "INVALID_ARGUMENT"
    assert many["genjscc.send"].status.status_code is trace.StatusCode.ERROR
