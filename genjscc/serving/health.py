# SPDX-License-Identifier: Apache-2.0
"""The standard health service, with draining and a limit on watches."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health, health_pb2

if TYPE_CHECKING:  # the stubs do not know the asyncio half
    _HealthServicer: Any
else:
    _HealthServicer = health.aio.HealthServicer


_LAST_WORD_S = 0.2
_LONGEST_NAME = 256
MOST_WATCHES = 16
"""Of one connection. Load balancers and the SDK need one each."""


class Health(_HealthServicer):  # type: ignore[misc]
    """Health service that ends its watches at shutdown, so that they do not delay it."""

    def __init__(self) -> None:
        super().__init__()
        self._closing = asyncio.Event()
        self._watches: Counter[str] = Counter()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:  # noqa: N802
        if len(request.service) > _LONGEST_NAME:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"service: got {len(request.service)} characters; must be at most {_LONGEST_NAME}",
            )
        peer = context.peer()
        if self._watches[peer] >= MOST_WATCHES:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"got {MOST_WATCHES + 1} watches on one connection; must be at most {MOST_WATCHES}",
            )
        self._watches[peer] += 1
        try:
            await self._watch(request, context)
        finally:
            self._watches[peer] -= 1
            if not self._watches[peer]:
                del self._watches[peer]

    async def _watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:
        watching = asyncio.ensure_future(super().Watch(request, context))
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait({watching, closing}, return_when=asyncio.FIRST_COMPLETED)
            # Time to write the last status: two writers at once would break the call.
            await asyncio.wait({watching}, timeout=_LAST_WORD_S)
        finally:
            watching.cancel()
            closing.cancel()
            await asyncio.gather(watching, closing, return_exceptions=True)

    async def enter_graceful_shutdown(self) -> None:
        """Report NOT_SERVING from now on and end the watches."""
        await super().enter_graceful_shutdown()
        self._closing.set()
