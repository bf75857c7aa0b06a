# SPDX-License-Identifier: Apache-2.0
"""What every call of a service goes through: request id, log, metrics, errors to status."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from genjscc.errors import GenJSCCError, InvalidInputError
from genjscc.serving.metrics import Metrics

REQUEST_ID = "x-request-id"
_MAX_REQUEST_ID = 64
_MAX_STATUS_TEXT = 2000
_PREFIX = "/genjscc."

request_id: ContextVar[str] = ContextVar("request_id", default="-")
log = logging.getLogger("genjscc")

_CODES = {code.value[0]: code for code in grpc.StatusCode}


def status_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    """Status and text for an error; of an unforeseen one, callers learn the request id only."""
    if isinstance(error, GenJSCCError):
        # A status travels in HTTP/2 headers, which are bounded; so are the values quoted in it.
        return _CODES[error.code[0]], str(error)[:_MAX_STATUS_TEXT]
    log.error("unexpected error", exc_info=error)
    text = f"internal error; the service's log has it under request id {request_id.get()}"
    return grpc.StatusCode.INTERNAL, text


def _accept_request_id(context: grpc.aio.ServicerContext[Any, Any]) -> None:
    """The caller's request id where it is fit for a log, a new one otherwise."""
    metadata = dict(context.invocation_metadata() or ())
    given = str(metadata.get(REQUEST_ID, ""))
    fit = 0 < len(given) <= _MAX_REQUEST_ID and given.isascii() and given.isprintable()
    request_id.set(given if fit else uuid.uuid4().hex)


def _parser(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Bytes to message. gRPC's own answer to garbage is UNKNOWN with the name of a class."""

    def parse(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError as error:
            raise InvalidInputError(
                "request", f"got {len(data)} bytes that are not a message of this call"
            ) from error

    return parse


if TYPE_CHECKING:  # generic for type checkers only
    _ServerInterceptor = grpc.aio.ServerInterceptor[Any, Any]
else:
    _ServerInterceptor = grpc.aio.ServerInterceptor


class CallInterceptor(_ServerInterceptor):
    """Wraps the handlers of this product's services; health and reflection pass untouched."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(_PREFIX):
            return handler
        name = method.rpartition("/")[2]
        parse = _parser(handler.request_deserializer)
        codecs = {"response_serializer": handler.response_serializer}
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._stream(name, handler.stream_stream, parse), **codecs
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(name, handler.unary_unary, parse), **codecs
        )

    def _unary(
        self, name: str, call: Callable[..., Awaitable[Any]], parse: Callable[[bytes], Any]
    ) -> Callable[..., Any]:
        async def wrapped(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            _accept_request_id(context)
            with self._observed(name) as outcome:
                try:
                    return await call(parse(request), context)
                except Exception as error:  # noqa: BLE001 (whatever it is becomes a status)
                    await self._abort(context, error, outcome)

        return wrapped

    def _stream(
        self, name: str, call: Callable[..., AsyncIterator[Any]], parse: Callable[[bytes], Any]
    ) -> Callable[..., Any]:
        async def wrapped(
            requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]
        ) -> AsyncIterator[Any]:
            _accept_request_id(context)
            with self._observed(name) as outcome:
                try:
                    messages = (parse(request) async for request in requests)
                    async for response in call(messages, context):
                        yield response
                except Exception as error:  # noqa: BLE001 (whatever it is becomes a status)
                    await self._abort(context, error, outcome)

        return wrapped

    @staticmethod
    async def _abort(
        context: grpc.aio.ServicerContext[Any, Any], error: Exception, outcome: list[str]
    ) -> NoReturn:
        code, text = status_of(error)
        outcome[0] = code.name
        await context.abort(code, text)

    @contextmanager
    def _observed(self, name: str) -> Iterator[list[str]]:
        """Counts and times a call; the yielded list holds its status name."""
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
            level = logging.DEBUG if outcome[0] == "OK" else logging.INFO
            log.log(level, "call", extra={"method": name, "code": outcome[0], "seconds": seconds})
