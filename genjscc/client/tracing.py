# SPDX-License-Identifier: Apache-2.0
"""A span for each use of the link, if the program uses OpenTelemetry.

Only the API is used: which spans are kept and where they go is for the program to say. Without
the package, or without a provider, nothing happens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from typing import Any

Metadata = tuple[tuple[str, str], ...]


@cache
def _api() -> tuple[Any, Any, str] | None:
    # Once: a package that is missing would be searched for with every call.
    try:
        from opentelemetry import propagate, trace
    except ImportError:
        return None
    return propagate, trace, version("genjscc")


@contextmanager
def link_span(name: str, request_id: str) -> Iterator[Metadata]:
    """Yield the metadata that makes the services' spans children of this one."""
    api = _api()
    if api is None:
        yield ()
        return
    propagate, trace, own_version = api
    tracer = trace.get_tracer("genjscc", own_version)
    # Not made the current one: a generator's caller goes on with its own work in between.
    span = tracer.start_span(
        name, kind=trace.SpanKind.CLIENT, attributes={"genjscc.request_id": request_id}
    )
    carrier: dict[str, str] = {}
    propagate.inject(carrier, trace.set_span_in_context(span))
    try:
        yield tuple(carrier.items())
    except Exception as error:
        span.record_exception(error)
        span.set_status(trace.StatusCode.ERROR, str(error))
        raise
    finally:
        span.end()
