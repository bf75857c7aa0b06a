# SPDX-License-Identifier: Apache-2.0
"""Handling of every call of a service: admission, request id, log, metrics, status.

Who has no token, or comes when the service is full, is refused before the content of the call
is read: all calls are served as streams of requests, since those of a single one would begin with
it. So there are never more requests in memory than calls that have been let in.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, Self

import grpc
from google.protobuf.message import DecodeError

from genjscc.errors import (
    AccessError,
    DeadlineError,
    GenJSCCError,
    InvalidInputError,
    OverloadedError,
)
from genjscc.serving.context import deadline, is_due, request_id
from genjscc.serving.metrics import Metrics
from genjscc.serving.scheduling.admission import Slot
from genjscc.serving.security import TokenGuard
from genjscc.serving.status import REQUEST_ID, abort, status_of
from genjscc.serving.tracing import Span
from genjscc.wire.outline import check_outline

_MAX_REQUEST_ID = 64
_PREFIX = "/genjscc."
# What is shorter costs little, whatever it holds.
_PARSED_UNSEEN = 64 * 1024
# What happens all the time is for the metrics to tell.
_QUIET = frozenset({"OK", "RESOURCE_EXHAUSTED"})

log = logging.getLogger("genjscc")


def _accept_request_id(metadata: dict[str, Any]) -> None:
    """Return the caller's request id if it is safe to log, or a new one."""
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
    """Metrics of one method, looked up once."""

    def __init__(self, path: str, metrics: Metrics) -> None:
        self.path, self.name = path, path.rpartition("/")[2]
        self.in_flight = metrics.in_flight.labels(self.name)
        self.seconds = metrics.request_seconds.labels(self.name)
        self.received = metrics.received_bytes.labels(self.name)
        self.sent = metrics.sent_bytes.labels(self.name)
        self._requests = metrics.requests
        self._ok = metrics.requests.labels(self.name, "OK")

    def count(self, code: str) -> None:
        """Count a call that has ended."""
        (self._ok if code == "OK" else self._requests.labels(self.name, code)).inc()


class _Call:
    """Context of one call: sets its request id and deadline, and logs and counts its end."""

    def __init__(self, method: _Method, context: _Context, span: Span | None) -> None:
        self._method, self._code = method, "OK"
        self._started = time.perf_counter()
        metadata = dict(context.invocation_metadata() or ())
        _accept_request_id(metadata)
        context.set_trailing_metadata(((REQUEST_ID, request_id.get()),))
        remaining = context.time_remaining()
        deadline.set(None if remaining is None else time.monotonic() + remaining)
        self._end_span = None if span is None else span(method.path, metadata)

    def __enter__(self) -> Self:
        self._method.in_flight.inc()
        return self

    async def fail(self, context: _Context, error: Exception) -> NoReturn:
        """End the call with the status of an error."""
        code, text = status_of(error)
        self._code = code.name
        await abort(context, code, text, error)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, asyncio.CancelledError | GeneratorExit):
            # The latter where a stream's answer could not be handed over any more.
            # gRPC cancels a call at its deadline as well.
            self._code = "DEADLINE_EXCEEDED" if is_due(deadline.get()) else "CANCELLED"
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
    """Lookup of the handlers of all calls, which wraps those of this product's services.

    Health and reflection are only guarded. Services are added here as to a server, whose only
    handler this is. Its own table of registered methods stays empty: grpcio's loop, when it
    accepts a call, waits for each of them anew.

    Args:
        metrics: of the service.
        guard: knows the tokens.
        enter: gives a call its slot, or raises GenJSCCError; told whether it streams, and from
            which peer it comes.
        span: begins the span of a call; None: there are none.
        arrival_s: how long the content of a single call may take to arrive.
        silence_s: how long a stream may be open without an item in work.
    """

    def __init__(
        self,
        metrics: Metrics,
        guard: TokenGuard,
        enter: Callable[[bool, str], Slot],
        span: Span | None,
        *,
        arrival_s: float,
        silence_s: float,
    ) -> None:
        self._metrics, self._guard, self._enter = metrics, guard, enter
        self._span, self._arrival_s, self._silence_s = span, arrival_s, silence_s
        self._services: list[grpc.GenericRpcHandler[Any, Any]] = []
        self._methods: dict[str, _Method] = {}
        self._handlers: dict[str, Any] = {}

    def add_generic_rpc_handlers(
        self, handlers: Iterable[grpc.GenericRpcHandler[Any, Any]]
    ) -> None:
        """Add services."""
        self._services.extend(handlers)

    def add_registered_method_handlers(self, name: str, handlers: Mapping[str, Any]) -> None:
        """Do nothing: generated code passes the same handlers to `add_generic_rpc_handlers`."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a call; None if there is no such method."""
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
        """Return a handler that ends the call without reading it."""

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
                    with self._enter(False, context.peer()) as slot:
                        content = await self._content(context, slot)
                        return await serve(parse(content), context)
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
                    with self._enter(False, context.peer()) as slot:
                        request = parse(await self._content(context, slot))
                        async for response in serve(request, context):
                            with _handing_over(slot):
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
                    with self._enter(True, context.peer()) as slot:
                        # Tells the caller that it is let in, before it sends anything.
                        await context.send_initial_metadata(())
                        items = _Items(requests, parse, slot, self._silence_s)
                        async for response in serve(items.arriving(), context):
                            with _handing_over(slot):
                                yield response
                            if response.WhichOneof("result") != "progress":
                                items.answered()
                except Exception as error:  # noqa: BLE001 (whatever it is becomes a status)
                    await call.fail(context, error)

        return wrapped

    async def _content(self, context: _Context, slot: Slot) -> bytes:
        """Read the only request of a call.

        Raises:
            InvalidInputError: there is none.
            GenJSCCError: it takes too long; a slot is not for those who only hold it.
        """
        async with _patience(slot, self._arrival_s, "request: did not arrive"):
            request: Any = await context.read()
        if request is grpc.aio.EOF:  # type: ignore[attr-defined]
            raise InvalidInputError("request", "is missing")
        received: bytes = request
        return received


@asynccontextmanager
async def _patience(slot: Slot, longest_s: float, what: str) -> AsyncIterator[None]:
    """Limit the time in which the service waits for a caller inside this context.

    Raises:
        DeadlineError: for too long.
        OverloadedError: another one needed the slot.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(longest_s) as limit:
            slot.wait(lambda: limit.reschedule(loop.time()))
            yield
    except TimeoutError:
        if slot.evicted:
            raise OverloadedError(
                f"{what} in time, and others needed the slot; try again later", retry_after_s=1.0
            ) from None
        raise DeadlineError(f"{what} within {longest_s:g} s") from None
    finally:
        slot.work()


@contextmanager
def _handing_over(slot: Slot) -> Iterator[None]:
    """Let the call be ended if its caller does not take a message inside this context."""
    task = asyncio.current_task()
    slot.wait(lambda: task is not None and task.cancel())
    try:
        yield
    finally:
        slot.work()


class _Items:
    """Stream items as they arrive. A stream is silent while none of its items is in progress.

    Args:
        requests: the messages.
        parse: a message's bytes.
        slot: of the stream.
        silence_s: how long it may be silent.
    """

    def __init__(
        self,
        requests: AsyncIterator[bytes],
        parse: Callable[[bytes], Any],
        slot: Slot,
        silence_s: float,
    ) -> None:
        self._requests, self._parse = requests, parse
        self._slot, self._silence_s = slot, silence_s
        self._in_work = 0
        self._limit: asyncio.Timeout | None = None

    def answered(self) -> None:
        """Note that one more item has been answered."""
        self._in_work -= 1
        self._watch()

    async def arriving(self) -> AsyncIterator[Any]:
        """Raise OverloadedError if the stream is silent for too long, or evicted."""
        try:
            while True:
                request = await self._next()
                if request is None:
                    return
                self._in_work += 1
                yield self._parse(request)
        except TimeoutError:
            # Its caller may open another one, at once or when it has something to say.
            raise OverloadedError("the stream was silent, and its slot was given away") from None

    async def _next(self) -> bytes | None:
        try:
            async with asyncio.timeout(None) as self._limit:
                self._watch()
                return await anext(self._requests, None)
        finally:
            self._limit = None
            if not self._in_work:
                self._slot.work()

    def _watch(self) -> None:
        """Start waiting for the caller if nothing else is in progress."""
        limit = self._limit
        if limit is None or self._in_work:
            return
        loop = asyncio.get_running_loop()
        limit.reschedule(loop.time() + self._silence_s)
        self._slot.wait(lambda: limit.reschedule(loop.time()))


def _codecs(method: _Method, handler: Any) -> tuple[Callable[[bytes], Any], Callable[[Any], bytes]]:
    """Return functions that parse and serialise messages and count their bytes."""
    kind = handler.request_deserializer.__self__.DESCRIPTOR

    def parse(data: bytes) -> Any:
        method.received.inc(len(data))
        if len(data) > _PARSED_UNSEEN:
            check_outline(data, kind)
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
