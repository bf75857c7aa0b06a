# SPDX-License-Identifier: Apache-2.0
"""OpenTelemetry spans of the calls that a service answers, if enabled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

from genjscc.errors import needs
from genjscc.serving.context import request_id

Span = Callable[[str, Mapping[str, Any]], Callable[[str], None]]
"""Begins the span of a call, from its method and metadata; the result ends it with the name of
the call's status."""


class OpenTelemetryTracer:
    """Tracer whose spans are children of the caller's (W3C Trace Context), through the global
    provider.
    """

    def __init__(self) -> None:
        from opentelemetry import propagate, trace

        self._extract, self._kind = propagate.extract, trace.SpanKind.SERVER
        self._error = trace.Status(trace.StatusCode.ERROR)
        self._tracer = trace.get_tracer("genjscc", version("genjscc"))

    def span(self, method: str, metadata: Mapping[str, Any]) -> Callable[[str], None]:
        """Start the span of a call."""
        service, _, name = method.strip("/").partition("/")
        span = self._tracer.start_span(
            f"{service}/{name}",
            context=self._extract({k: v for k, v in metadata.items() if isinstance(v, str)}),
            kind=self._kind,
            attributes={
                "rpc.system": "grpc",
                "rpc.service": service,
                "rpc.method": name,
                "genjscc.request_id": request_id.get(),
            },
        )

        def end(code: str) -> None:
            span.set_attribute("genjscc.status", code)
            if code != "OK":
                span.set_status(self._error)
            span.end()

        return end


def make_tracer(role: str, *, enabled: bool) -> Span | None:
    """Return the tracer of a process, which exports spans as the OTEL_ variables say (OTLP, gRPC).

    Raises:
        MissingExtraError: OpenTelemetry is not installed.
    """
    if not enabled:
        return None
    with needs("tracing", "tracing"):
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    resource = Resource.create({"service.name": f"genjscc-{role}"})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return OpenTelemetryTracer().span
