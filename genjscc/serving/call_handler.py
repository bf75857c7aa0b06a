# SPDX-License-Identifier: Apache-2.0
"""What every call of a service goes through: admission, request id, log, metrics, status.

Who has no token, or comes when the service is full, is refused before the content of the call
is read: all calls are served as streams of requests, since those of a single one would begin with
it. So there are never more requests in memory than calls that have been let in.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, Self

import grpc
from google.protobuf.message import DecodeError

from genjscc.errors import AccessError, DeadlineError, GenJSCCError, InvalidInputError
from genjscc.serving.admission import Place
from genjscc.serving.context import deadline, request_id
from genjscc.serving.metrics import Metrics
from genjscc.serving.security import TokenGuard
from genjscc.serving.status import abort, status_of
from genjscc.serving.tracing import Span

REQUEST_ID = "x-request-id"
_MAX_REQUEST_ID = 64
_PREFIX = "/genjscc."
_RECEIVE_S = 60.0
# What happens all the time is for the metrics to tell.
_QUIET = frozenset({"OK", "RESOURCE_EXHAUSTED"})

log = logging.getLogger("genjscc")


def _accept_request_id(metadata: dict[str, Any]) -> None:
    """The caller's request id where it is fit for a log, a new one otherwise."""
    given = str(metadata.get(REQUEST_ID, ""))
    fit = 0 < len(given) <= _MAX_REQUEST_ID and given.isascii() and given.isprintable()
    request_id.set(given if fit else f"{random.getrandbits(128):032x}")


if TYPE_CHECKING:  # generic for type checkers only
    _Handler = grpc.GenericRpcHandler[Any, Any]
    _Context = grpc.aio.ServicerContext[Any, Any]
else:
    _Handler = grpc.GenericRpcHandler
    _Context = grpc.aio.ServicerContext


class _Method:
    """One method's metrics, looked up once."""

    def __init__(self, path: str, metrics: Metrics) -> None:
        self.path, self.name = path, path.rpartition("/")[2]
        self.in_flight = metrics.in_flight.labels(self.name)
        self.seconds = metrics.request_seconds.labels(self.name)
        self.received = metrics.received_bytes.labels(self.name)
        self.sent = metrics.sent_bytes.labels(self.name)
        self._requests = metrics.requests
        self._ok = metrics.requests.labels(self.name, "OK")

    def count(self, code: str) -> None:
        """One more call has ended."""
        (self._ok if code == "OK" else self._requests.labels(self.name, code)).inc()


class _Call:
    """A context around one call: what its code may know of it, and what is noted at its end."""

    def __init__(self, method: _Method, context: _Context, span: Span | None) -> None:
        self._method, self._code = method, "OK"
        self._started = time.perf_counter()
        metadata = dict(context.invocation_metadata() or ())
        _accept_request_id(metadata)
        remaining = context.time_remaining()
        deadline.set(None if remaining is None else time.monotonic() + remaining)
        self._end_span = None if span is None else span(method.path, metadata)

    def __enter__(self) -> Self:
        self._method.in_flight.inc()
        return self

    async def fail(self, context: _Context, error: Exception) -> NoReturn:
        """Ends the call with the status of an error."""
        code, text = status_of(error)
        self._code = code.name
        await abort(context, code, text, error)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, asyncio.CancelledError | GeneratorExit):
            # The latter where a stream's answer could not be handed over any more.
            self._code = "CANCELLED"
        seconds = time.perf_counter() - self._started
        self._method.in_flight.dec()
        self._method.count(self._code)
        self._method.seconds.observe(seconds)
        if self._end_span is not None:
            self._end_span(self._code)
        level = logging.DEBUG if self._code in _QUIET else logging.INFO
        if log.isEnabledFor(level):
            extra = {"method": self._method.name, "code": self._code, "seconds": seconds}
            log.log(level, "call", extra=extra)


class CallHandler(_Handler):
    """Finds the handler of every call of a server, and wraps those of this product's services.

    Health and reflection are only guarded. Services are added here as to a server, whose only
    handler this is. Its own table of registered methods stays empty: grpcio's loop, when it
    accepts a call, waits for each of them anew.

    Args:
        metrics: of the service.
        guard: knows the tokens.
        enter: gives a call its place, or raises GenJSCCError; told whether it streams.
        span: begins the span of a call; None: there are none.
    """

    def __init__(
        self,
        metrics: Metrics,
        guard: TokenGuard,
        enter: Callable[[bool], Place],
        span: Span | None,
    ) -> None:
        self._metrics, self._guard, self._enter = metrics, guard, enter
        self._span = span
        self._services: list[grpc.GenericRpcHandler[Any, Any]] = []
        self._methods: dict[str, _Method] = {}
        self._handlers: dict[str, Any] = {}

    def add_generic_rpc_handlers(
        self, handlers: Iterable[grpc.GenericRpcHandler[Any, Any]]
    ) -> None:
        """Adds services."""
        self._services.extend(handlers)

    def add_registered_method_handlers(self, name: str, handlers: Mapping[str, Any]) -> None:
        """Nothing: generated code hands the same ones to `add_generic_rpc_handlers`."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """What serves a call; None: there is no such method."""
        method = handler_call_details.method
        # A method's handler is always the same.
        handler = self._handlers.get(method) or self._find(handler_call_details)
        try:
            self._guard.check(method, handler_call_details.invocation_metadata)
        except AccessError as error:
            self._metrics.rejected.labels("token").inc()
            ours = handler is not None and method.startswith(_PREFIX)
            return self._refusal(method, error, count=ours)
        return handler

    def _find(self, details: grpc.HandlerCallDetails) -> Any:
        for service in self._services:
            if (handler := service.service(details)) is not None:
                method = details.method
                ours = method.startswith(_PREFIX)
                self._handlers[method] = self._wrap(method, handler) if ours else handler
                return self._handlers[method]
        return None

    def _refusal(self, method: str, error: GenJSCCError, *, count: bool) -> Any:
        """A handler that ends the call without reading it."""

        async def refuse(_: Any, context: _Context) -> None:
            if not count:  # names of unknown methods must not become labels
                await abort(context, *status_of(error), error)
            with _Call(self._method(method), context, None) as call:
                await call.fail(context, error)

        return grpc.stream_stream_rpc_method_handler(refuse)

    def _method(self, path: str) -> _Method:
        if path not in self._methods:
            self._methods[path] = _Method(path, self._metrics)
        return self._methods[path]

    def _wrap(self, path: str, handler: Any) -> Any:
        method = self._method(path)
        parse, serialize = _codecs(method, handler)
        kinds = (
            (grpc.stream_unary_rpc_method_handler, handler.unary_unary, self._unary),
            (grpc.stream_stream_rpc_method_handler, handler.unary_stream, self._answers),
            (grpc.stream_stream_rpc_method_handler, handler.stream_stream, self._stream),
        )
        for make, behaviour, wrap in kinds:
            if behaviour is not None:
                return make(wrap(method, behaviour, parse), response_serializer=serialize)
        raise NotImplementedError(f"{path}: calls of this kind are not served")

    def _unary(
        self, method: _Method, serve: Callable[..., Awaitable[Any]], parse: Callable[[bytes], Any]
    ) -> Callable[..., Any]:
        async def wrapped(_: Any, context: _Context) -> Any:
            with _Call(method, context, self._span) as call:
                try:
                    with self._enter(False):
                        return await serve(parse(await _single(context)), context)
                except Exception as error:  # noqa: BLE001 (whatever it is becomes a status)
                    await call.fail(context, error)

        return wrapped

    def _answers(
        self,
        method: _Method,
        serve: Callable[..., AsyncIterator[Any]],
        parse: Callable[[bytes], Any],
    ) -> Callable[..., Any]:
        async def wrapped(_: Any, context: _Context) -> AsyncIterator[Any]:
            with _Call(method, context, self._span) as call:
                try:
                    with self._enter(False):
                        request = parse(await _single(context))
                        async for response in serve(request, context):
                            yield response
                except Exception as error:  # noqa: BLE001 (whatever it is becomes a status)
                    await call.fail(context, error)

        return wrapped

    def _stream(
        self,
        method: _Method,
        serve: Callable[..., AsyncIterator[Any]],
        parse: Callable[[bytes], Any],
    ) -> Callable[..., Any]:
        async def wrapped(requests: AsyncIterator[bytes], context: _Context) -> AsyncIterator[Any]:
            with _Call(method, context, self._span) as call:
                try:
                    with self._enter(True):
                        # Tells the caller that it is let in, before it sends anything.
                        await context.send_initial_metadata(())
                        messages = (parse(request) async for request in requests)
                        async for response in serve(messages, context):
                            yield response
                except Exception as error:  # noqa: BLE001 (whatever it is becomes a status)
                    await call.fail(context, error)

        return wrapped


async def _single(context: _Context) -> bytes:
    """The one request of a call.

    Raises:
        InvalidInputError: there is none.
        DeadlineError: it takes too long; a place is not for those who only hold it.
    """
    try:
        async with asyncio.timeout(_RECEIVE_S):
            request: Any = await context.read()
    except TimeoutError:
        raise DeadlineError(f"request: did not arrive within {_RECEIVE_S:g} s") from None
    if request is grpc.aio.EOF:  # type: ignore[attr-defined]
        raise InvalidInputError("request", "is missing")
    received: bytes = request
    return received


def _codecs(method: _Method, handler: Any) -> tuple[Callable[[bytes], Any], Callable[[Any], bytes]]:
    """Bytes to message and back, counted."""

    def parse(data: bytes) -> Any:
        method.received.inc(len(data))
        try:
            return handler.request_deserializer(data)
        except DecodeError as error:  # gRPC's own answer: UNKNOWN and the name of a class
            raise InvalidInputError(
                "request", f"got {len(data)} bytes that are not a message of this call"
            ) from error

    def serialize(message: Any) -> bytes:
        data: bytes = handler.response_serializer(message)
        method.sent.inc(len(data))
        return data

    return parse, serialize
