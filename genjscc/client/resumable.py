# SPDX-License-Identifier: Apache-2.0
"""A stream of requests to one service that survives the end of single replicas.

Every request gets exactly one answer or one error. Where a connection breaks, or a replica says
that it shuts down, what it has not answered goes to the next one; answers are read from one call
at a time, so that nothing is answered twice.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

import grpc

from genjscc.errors import (
    CancelledCallError,
    DeadlineError,
    GenJSCCError,
    OverloadedError,
    RemoteError,
    UnavailableError,
    error_from_status,
)

FIRST_CONTACT_S = 5.0
"""How long a service may be out of reach that has never answered: it may not be there at all."""

_BACKOFF_S, _LONGEST_BACKOFF_S = 0.05, 2.0
_WELCOME_S = 1.0
# A service that ended the call, not the caller: then nobody waits for the error.
_RESUMABLE = (UnavailableError, OverloadedError, CancelledCallError)

Response = TypeVar("Response", contravariant=True)  # noqa: PLC0105


class Settles(Protocol[Response]):
    """Callbacks for the outcome of requests."""

    def answered(self, index: int, response: Response) -> None:
        """Take the response to a request."""
        ...

    def failed(self, index: int, error: GenJSCCError) -> None:
        """Take the error of a request."""
        ...


class ResumableStream(Generic[Response]):
    """One hop of many images: `submit` requests, then `finish`; `run` returns when all are settled.

    Args:
        name: of the service and its address, for errors.
        open_call: begins a bidirectional gRPC stream.
        connected: returns once a replica can be reached again.
        translate: turns a gRPC failure into our error.
        settles: is told of each request's end.
        timeout_s: how long the service may be out of reach, or silent while requests wait.
    """

    def __init__(
        self,
        name: str,
        open_call: Callable[[], Any],
        connected: Callable[[], Awaitable[None]],
        translate: Callable[[grpc.aio.AioRpcError], GenJSCCError],
        settles: Settles[Response],
        timeout_s: float,
    ) -> None:
        self._name, self._open_call, self._connected = name, open_call, connected
        self._translate, self._settles, self._timeout_s = translate, settles, timeout_s
        self._unanswered: dict[int, Any] = {}  # the oldest first
        self._unsent: deque[int] = deque()
        self._changed = asyncio.Event()
        self._finished = self._met = False
        self._progress_at = 0.0
        self._attempts = 0
        self._lost: GenJSCCError | None = None  # what ended the last call, if nothing came since
        self._down: GenJSCCError | None = None

    def submit(self, index: int, message: Any) -> None:
        """Send a message on the stream; `index` is its item id."""
        if self._down is not None:
            self._settles.failed(index, self._down)
            return
        if not self._unanswered:
            self._progress_at = time.monotonic()
        self._unanswered[index] = message
        self._unsent.append(index)
        self._changed.set()

    def finish(self) -> None:
        """Announce that no more messages will be submitted."""
        self._finished = True
        self._changed.set()

    async def run(self) -> None:
        """Run until all submitted messages are settled and no more will follow."""
        while True:
            if not self._unanswered:
                if self._finished:
                    return
                self._changed.clear()
                await self._changed.wait()
                continue
            error = await self._use_one_call()
            if error is not None:
                await self._recover(error)

    async def _recover(self, error: GenJSCCError) -> None:
        if not isinstance(error, _RESUMABLE):
            self._fail_all(error)
            return
        if isinstance(error, CancelledCallError):
            error = UnavailableError(f"{self._name}: {error}")
        patience = self._timeout_s if self._met else min(self._timeout_s, FIRST_CONTACT_S)
        if self._unanswered and time.monotonic() - self._progress_at >= patience:
            self._fail_all(error)
            self._down = error
            await self._until_connected()
            self._down = None
            return
        self._lost = error
        pause = min(_LONGEST_BACKOFF_S, _BACKOFF_S * 2**self._attempts) * random.uniform(0.5, 1)  # noqa: S311
        if isinstance(error, OverloadedError) and error.retry_after_s is not None:
            pause = error.retry_after_s
        self._attempts = min(self._attempts + 1, 10)
        await asyncio.sleep(min(pause, patience))

    async def _until_connected(self) -> None:
        """Wait until a replica is connected, or until nothing is left to send."""
        connected = asyncio.ensure_future(self._connected())
        try:
            while not connected.done() and not self._finished:
                self._changed.clear()
                changed = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait({connected, changed}, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
        finally:
            connected.cancel()

    async def _use_one_call(self) -> GenJSCCError | None:
        """Send and read over one call until it ends; return its error, or None if all is done."""
        self._unsent = deque(self._unanswered)
        call = self._open_call()
        silent: list[bool] = []
        helpers = [
            asyncio.ensure_future(self._write(call)),
            asyncio.ensure_future(self._watch(call, silent)),
        ]
        try:
            while (answer := await call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
                if (error := self._settle(answer)) is not None:
                    return error
        except grpc.aio.AioRpcError as error:
            return self._translate(error)
        except asyncio.CancelledError:
            if not silent:
                raise
            waiting = len(self._unanswered)
            return self._lost or DeadlineError(
                f"{self._name}: no answer for {self._timeout_s:g} s, {waiting} images waiting"
            )
        finally:
            for helper in helpers:
                helper.cancel()
            call.cancel()
        if self._unanswered:
            return UnavailableError(f"{self._name}: the stream ended without an answer")
        return None

    async def _write(self, call: Any) -> None:
        # A write that meets a refusal would hide its reason. Services that let a call in say so.
        await asyncio.wait({asyncio.ensure_future(call.initial_metadata())}, timeout=_WELCOME_S)
        try:
            while True:
                while self._unsent:
                    index = self._unsent.popleft()
                    if index in self._unanswered:
                        await call.write(self._unanswered[index])
                if self._finished and not self._unanswered:
                    await call.done_writing()
                    return
                self._changed.clear()
                await self._changed.wait()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return  # whoever reads learns why

    async def _watch(self, call: Any, silent: list[bool]) -> None:
        """Cancel a call whose responses are overdue."""
        while True:
            waited = time.monotonic() - self._progress_at if self._unanswered else 0.0
            if waited >= self._timeout_s:
                silent.append(True)
                call.cancel()
                return
            await asyncio.sleep(self._timeout_s - waited)

    def _settle(self, answer: Any) -> GenJSCCError | None:
        """Settle a response; raise an error if the call cannot be used further."""
        index = answer.item_id
        if index not in self._unanswered:
            return RemoteError(f"{self._name} answered item {index}, which is not open")
        result = answer.WhichOneof("result")
        if result == "progress":
            self._note_life()
            return None
        if result == "error":
            error = error_from_status(answer.error.code, answer.error.message)
            if isinstance(error, _RESUMABLE):
                return error
            self._forget(index)
            self._settles.failed(index, error)
        else:
            self._forget(index)
            self._settles.answered(index, answer.response)
        return None

    def _forget(self, index: int) -> None:
        del self._unanswered[index]
        self._note_life()
        if self._finished and not self._unanswered:
            self._changed.set()  # nothing is left to be written

    def _note_life(self) -> None:
        self._progress_at = time.monotonic()
        self._met, self._attempts, self._lost = True, 0, None

    def _fail_all(self, error: GenJSCCError) -> None:
        failed, self._unanswered = list(self._unanswered), {}
        for index in failed:
            self._settles.failed(index, error)
