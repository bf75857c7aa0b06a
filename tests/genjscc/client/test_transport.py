# SPDX-License-Identifier: Apache-2.0
"""gRPC's failures as our errors."""

from __future__ import annotations

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from genjscc.client.transport import from_rpc_error
from genjscc.errors import DeadlineError, GenJSCCError, RemoteError, UnavailableError

CASES: list[tuple[grpc.StatusCode, str, type[GenJSCCError], str]] = [
    (grpc.StatusCode.UNAVAILABLE, "gone", UnavailableError, "channel at h:1: gone"),
    (grpc.StatusCode.DEADLINE_EXCEEDED, "late", DeadlineError, "channel at h:1: late"),
    # A write that meets a breaking connection: nothing that the service did.
    (
        grpc.StatusCode.INTERNAL,
        "Internal error from Core",
        UnavailableError,
        "channel at h:1: the connection was lost",
    ),
    # A caller that gives up is told so by asyncio; this one has waited.
    (
        grpc.StatusCode.CANCELLED,
        "CANCELLED",
        UnavailableError,
        "channel at h:1: the service dropped the call (CANCELLED)",
    ),
    (grpc.StatusCode.INTERNAL, "internal error; id 7", RemoteError, "internal error; id 7"),
    (grpc.StatusCode.DATA_LOSS, "odd", RemoteError, "odd"),
]


@pytest.mark.parametrize(("code", "details", "kind", "text"), CASES)
def test_failures_become_errors(
    code: grpc.StatusCode, details: str, kind: type[GenJSCCError], text: str
) -> None:
    error = from_rpc_error(AioRpcError(code, Metadata(), Metadata(), details), "channel", "h:1")
    assert type(error) is kind
    assert str(error) == text
