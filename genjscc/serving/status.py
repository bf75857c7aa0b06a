# SPDX-License-Identifier: Apache-2.0
"""Conversion of errors to gRPC statuses."""

from __future__ import annotations

import logging
from typing import Any, NoReturn

import grpc

from genjscc.errors import GenJSCCError, OverloadedError
from genjscc.serving.context import request_id

RETRY_AFTER = "grpc-retry-pushback-ms"
"""Trailing metadata: milliseconds after which a refused call may be repeated. gRPC's own name:
clients with a retry policy wait that long by themselves (gRFC A6)."""

_MAX_STATUS_TEXT = 2000
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


async def abort(
    context: grpc.aio.ServicerContext[Any, Any], code: grpc.StatusCode, text: str, error: Exception
) -> NoReturn:
    """End a call with the status of an error."""
    await context.abort(code, text, retry_metadata(error))
