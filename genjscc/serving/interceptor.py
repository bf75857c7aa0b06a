# SPDX-License-Identifier: Apache-2.0
"""What every call of a service goes through: admission, request id, log, metrics, status.

Who has no token, or comes when the service is full, is refused before the content of the call
is read.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from genjscc.errors import AccessError, GenJSCCError, InvalidInputError
from genjscc.serving.context import deadline, request_id
from genjscc.serving.metrics import Metrics
from genjscc.serving.security import TokenGuard
from genjscc.serving.status import abort, status_of
from genjscc.serving.tracing import Span

REQUEST_ID = "x-request-id"
_MAX_REQUEST_ID = 64
_PREFIX = "/genjscc."
# What happens all the time is for the metrics to tell.
_QUIET = frozenset({"OK", "RESOURCE_EXHAUSTED"})

log = logging.getLogger("genjscc")


def _accept_request_id(metadata: dict[str, Any]) -> None:
    """The caller's request id where it is fit for a log, a new one otherwise."""
    given = str(metadata.get(REQUEST_ID, ""))
    fit = 0 < len(given) <= _MAX_REQUEST_ID and given.isascii() and given.isprintable()
    request_id.set(given if fit else uuid.uuid4().hex)


if TYPE_CHECKING:  # generic for type checkers only
    _ServerInterceptor = grpc.aio.ServerInterceptor[Any, Any]
    _Context = grpc.aio.ServicerContext[Any, Any]
else:
    _ServerInterceptor = grpc.aio.ServerInterceptor
    _Context = grpc.aio.ServicerContext


class CallInterceptor(_ServerInterceptor):
    """Wraps the handlers of this product's services; health and reflection are only guarded.

    Args:
        metrics: of the service.
        guard: knows the tokens.
        admit: raises GenJSCCError where a call must be refused unread; told whether it streams.
        span: makes the span of a call.
    """

    def __init__(
        self,
        metrics: Metrics,
        guard: TokenGuard,
        admit: Callable[[bool], None],
        span: Span,
    ) -> None:
        self._metrics, self._guard, self._admit = metrics, guard, admit
        self._span = span
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        method = handler_call_details.method
        handler = await continuation(handler_call_details)
        ours = handler is not None and method.startswith(_PREFIX)
        try:
            self._guard.check(method, handler_call_details.invocation_metadata)
            if ours:
                self._admit(handler.request_streaming)
        except GenJSCCError as error:
            return self._refusal(method, error, count=ours)
        if not ours:
            return handler
        # A method's handler is always the same.
        if method not in self._wrapped:
            self._wrapped[method] = self._wrap(method, handler)
        return self._wrapped[method]

    def _refusal(self, method: str, error: GenJSCCError, *, count: bool) -> Any:
        """A handler that ends the call without reading it.

        It is one for streams, whatever the method is: those of single requests are called when
        the request has been read.
        """
        if isinstance(error, AccessError):
            self._metrics.rejected.labels("token").inc()

        async def refuse(_: Any, context: _Context) -> None:
            _accept_request_id(dict(context.invocation_metadata() or ()))
            if not count:  # names of unknown methods must not become labels
                await abort(context, *status_of(error), error)
            with self._observed(method) as outcome:
                await self._fail(context, error, outcome)

        return grpc.stream_stream_rpc_method_handler(refuse)

    def _wrap(self, method: str, handler: Any) -> Any:
        parse, serialize = self._codecs(method, handler)
        kinds = (
            (grpc.unary_unary_rpc_method_handler, handler.unary_unary, self._unary),
            (grpc.unary_stream_rpc_method_handler, handler.unary_stream, self._answers),
            (grpc.stream_stream_rpc_method_handler, handler.stream_stream, self._stream),
        )
        for make, behaviour, wrap in kinds:
            if behaviour is not None:
                return make(wrap(method, behaviour, parse), response_serializer=serialize)
        raise NotImplementedError(f"{method}: calls of this kind are not served")

    def _codecs(
        self, method: str, handler: Any
    ) -> tuple[Callable[[bytes], Any], Callable[[Any], bytes]]:
        """Bytes to message and back, counted."""
        name = method.rpartition("/")[2]
        received = self._metrics.received_bytes.labels(name)
        sent = self._metrics.sent_bytes.labels(name)

        def parse(data: bytes) -> Any:
            received.inc(len(data))
            try:
                return handler.request_deserializer(data)
            except DecodeError as error:  # gRPC's own answer: UNKNOWN and the name of a class
                raise InvalidInputError(
                    "request", f"got {len(data)} bytes that are not a message of this call"
                ) from error

        def serialize(message: Any) -> bytes:
            data: bytes = handler.response_serializer(message)
            sent.inc(len(data))
            return data

        return parse, serialize

    def _unary(
        self, method: str, call: Callable[..., Awaitable[Any]], parse: Callable[[bytes], Any]
    ) -> Callable[..., Any]:
        async def wrapped(request: bytes, context: _Context) -> Any:
            with self._begun(method, context) as outcome:
                try:
                    return await call(parse(request), context)
                except Exception as error:  # noqa: BLE001 (whatever it is becomes a status)
                    await self._fail(context, error, outcome)

        return wrapped

    def _answers(
        self, method: str, call: Callable[..., AsyncIterator[Any]], parse: Callable[[bytes], Any]
    ) -> Callable[..., Any]:
        async def wrapped(request: bytes, context: _Context) -> AsyncIterator[Any]:
            with self._begun(method, context) as outcome:
                try:
                    async for response in call(parse(request), context):
                        yield response
                except Exception as error:  # noqa: BLE001 (whatever it is becomes a status)
                    await self._fail(context, error, outcome)

        return wrapped

    def _stream(
        self, method: str, call: Callable[..., AsyncIterator[Any]], parse: Callable[[bytes], Any]
    ) -> Callable[..., Any]:
        async def wrapped(requests: AsyncIterator[bytes], context: _Context) -> AsyncIterator[Any]:
            with self._begun(method, context) as outcome:
                try:
                    # Tells the caller that it has been let in, before it sends anything.
                    await context.send_initial_metadata(())
                    messages = (parse(request) async for request in requests)
                    async for response in call(messages, context):
                        yield response
                except Exception as error:  # noqa: BLE001 (whatever it is becomes a status)
                    await self._fail(context, error, outcome)

        return wrapped

    @staticmethod
    async def _fail(context: _Context, error: Exception, outcome: list[str]) -> NoReturn:
        code, text = status_of(error)
        outcome[0] = code.name
        await abort(context, code, text, error)

    @contextmanager
    def _begun(self, method: str, context: _Context) -> Iterator[list[str]]:
        """What the code of a call may know of it, and its observation."""
        metadata = dict(context.invocation_metadata() or ())
        _accept_request_id(metadata)
        remaining = context.time_remaining()
        deadline.set(None if remaining is None else time.monotonic() + remaining)
        with self._observed(method) as outcome, self._span(method, metadata, outcome):
            yield outcome

    @contextmanager
    def _observed(self, method: str) -> Iterator[list[str]]:
        """Counts and times a call; the yielded list holds its status name."""
        name = method.rpartition("/")[2]
        outcome = ["OK"]
        started = time.perf_counter()
        self._metrics.in_flight.labels(name).inc()
        try:
            yield outcome
        except (asyncio.CancelledError, GeneratorExit):
            # The latter where a stream's answer could not be handed over any more.
            outcome[0] = "CANCELLED"
            raise
        finally:
            seconds = time.perf_counter() - started
            self._metrics.in_flight.labels(name).dec()
            self._metrics.requests.labels(name, outcome[0]).inc()
            self._metrics.request_seconds.labels(name).observe(seconds)
            level = logging.DEBUG if outcome[0] in _QUIET else logging.INFO
            log.log(level, "call", extra={"method": name, "code": outcome[0], "seconds": seconds})
