# SPDX-License-Identifier: Apache-2.0
"""Conversion of errors to gRPC statuses."""

from __future__ import annotations

import logging
import re
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from genjscc.errors import GenJSCCError, InvalidInputError, OverloadedError
from genjscc.serving.context import request_id

RETRY_AFTER = "grpc-retry-pushback-ms"
"""Trailing metadata: milliseconds after which a refused call may be repeated. gRPC's own name:
clients with a retry policy wait that long by themselves (gRFC A6)."""

REQUEST_ID = "x-request-id"
"""Metadata of a call and of its answer: the name under which logs and traces have it."""
STATUS_DETAILS = "grpc-status-details-bin"
"""Trailing metadata: a google.rpc.Status, as libraries of all languages read it."""

_MAX_STATUS_TEXT = 2000
# Details repeat the text; together they must fit into the headers that clients accept.
_MAX_DETAILED_TEXT = 1000
_CODES = {code.value[0]: code for code in grpc.StatusCode}
log = logging.getLogger("genjscc")


def status_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    """Return status code and text of an error; unexpected errors show only the request id."""
    if isinstance(error, GenJSCCError):
        # A status travels in HTTP/2 headers, which are bounded; so are the values quoted in it.
        return _CODES[error.code[0]], str(error)[:_MAX_STATUS_TEXT]
    log.error("unexpected error", exc_info=error)
    text = f"internal error; the service's log has it under request id {request_id.get()}"
    return grpc.StatusCode.INTERNAL, text


def retry_metadata(error: Exception) -> tuple[tuple[str, str], ...]:
    """Return trailing metadata with the retry hint of an error, if it has one."""
    if isinstance(error, OverloadedError) and error.retry_after_s is not None:
        return ((RETRY_AFTER, str(max(1, round(error.retry_after_s * 1000)))),)
    return ()


def details_of(error: Exception, code: grpc.StatusCode, text: str) -> bytes:
    """An error as google.rpc.Status: its class, the field that is wrong, when to come again."""
    number, _ = code.value
    status = status_pb2.Status(code=number, message=text)
    found: list[Any] = [
        error_details_pb2.ErrorInfo(reason=_reason(error, code), domain="genjscc"),
        error_details_pb2.RequestInfo(request_id=request_id.get()),
    ]
    if isinstance(error, InvalidInputError):
        bad = error_details_pb2.BadRequest()
        bad.field_violations.add(field=error.field, description=text)
        found.append(bad)
    if isinstance(error, OverloadedError) and error.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(max(1, round(error.retry_after_s * 1000)))
        found.append(error_details_pb2.RetryInfo(retry_delay=delay))
    for one in found:
        packed = any_pb2.Any()
        packed.Pack(one)
        status.details.append(packed)
    return bytes(status.SerializeToString())


def _reason(error: Exception, code: grpc.StatusCode) -> str:
    """The class of an error as google.rpc writes reasons: MODEL_NOT_FOUND."""
    if not isinstance(error, GenJSCCError):
        return str(code.name)
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__.removesuffix("Error")).upper()


async def abort(
    context: grpc.aio.ServicerContext[Any, Any], code: grpc.StatusCode, text: str, error: Exception
) -> NoReturn:
    """End a call with the status of an error, its details and the request id."""
    trailers: list[tuple[str, str | bytes]] = [*retry_metadata(error)]
    trailers.append((REQUEST_ID, request_id.get()))
    if len(text.encode()) <= _MAX_DETAILED_TEXT:
        trailers.append((STATUS_DETAILS, details_of(error, code, text)))
    await context.abort(code, text, tuple(trailers))
