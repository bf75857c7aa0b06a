# SPDX-License-Identifier: Apache-2.0
"""Many images over three streams at once: each hop works while the others do.

Every image ends as exactly one outcome, in the order of the images. A bounded number is under
way, so that an endless source is read only as fast as the link carries it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc

from genjscc.client.exchange import ImageInput, Journey
from genjscc.client.options import Failure, Hop, Options, Reception
from genjscc.client.transport import ROLES, Transport, from_rpc_error, new_request_metadata
from genjscc.errors import DeadlineError, GenJSCCError, RemoteError, error_from_status
from genjscc.v1 import channel_pb2, receiver_pb2, transmitter_pb2

WINDOW = 64

Outcome = Reception | Failure
_END = object()


class Pipeline:
    """One use of the three streams."""

    def __init__(self, transport: Transport, timeout_s: float, window: int = WINDOW) -> None:
        self._transport, self._timeout_s = transport, timeout_s
        self._heard_at = 0.0
        self._free = asyncio.Semaphore(window)
        self._outcomes: asyncio.Queue[tuple[int, Outcome] | None] = asyncio.Queue()
        self._journeys: dict[int, Journey] = {}
        self._broken: Exception | None = None

    async def run(
        self, images: Iterable[ImageInput], options: Callable[[int], Options]
    ) -> AsyncIterator[Outcome]:
        """The outcomes in the order of the images.

        Raises:
            GenJSCCError: a stream broke, or no service answered for `timeout_s`; what was under
                way has been yielded as failures.
            Exception: what the source of the images raised, after the outcomes of those before.
        """
        metadata = new_request_metadata()
        streams = self._transport.streams
        encoding = streams["encode"](self._encode_requests(images, options), metadata=metadata)
        transmitting = streams["transmit"](self._transmit_requests(encoding), metadata=metadata)
        decoding = streams["decode"](self._decode_requests(transmitting), metadata=metadata)
        finishing = asyncio.create_task(self._finish(decoding))
        try:
            async for outcome in self._in_order():
                yield outcome
        finally:
            finishing.cancel()
            for call in (encoding, transmitting, decoding):
                call.cancel()
        if self._broken is not None:
            raise self._broken

    async def _in_order(self) -> AsyncIterator[Outcome]:
        due = 0
        early: dict[int, Outcome] = {}
        while (arrived := await self._next_outcome()) is not None:
            index, outcome = arrived
            early[index] = outcome
            while due in early:
                yield early.pop(due)
                self._free.release()
                due += 1
        # The streams are over. What has no outcome by now was lost with a broken one.
        reason: GenJSCCError = RemoteError("the service ended the stream without an answer")
        if isinstance(self._broken, GenJSCCError):
            reason = self._broken
        for index in sorted(self._journeys.keys() | early.keys()):
            yield early.get(index) or Failure(index, reason)

    async def _next_outcome(self) -> tuple[int, Outcome] | None:
        """None at the end, or where images are under way and nothing is heard of them."""
        while True:
            silent = time.monotonic() - self._heard_at if self._journeys else 0.0
            if silent >= self._timeout_s:
                waiting = len(self._journeys)
                self._break(
                    DeadlineError(f"no answer for {self._timeout_s:g} s, {waiting} images waiting")
                )
                return None
            try:
                return await asyncio.wait_for(self._outcomes.get(), self._timeout_s - silent)
            except TimeoutError:
                continue

    def _settle(self, index: int, outcome: Outcome) -> None:
        self._journeys.pop(index, None)
        self._outcomes.put_nowait((index, outcome))

    async def _encode_requests(
        self, images: Iterable[ImageInput], options: Callable[[int], Options]
    ) -> AsyncIterator[transmitter_pb2.EncodeStreamRequest]:
        source = iter(images)
        index = 0
        while self._broken is None:
            await self._free.acquire()
            try:
                # The source may read files or wait: not on the event loop.
                image: Any = await asyncio.to_thread(next, source, _END)
                if image is _END:
                    return
                journey = Journey(options(index))
                request = journey.first(image)
            except GenJSCCError as error:
                self._settle(index, Failure(index, error))
            except Exception as error:  # noqa: BLE001 (raised to the caller at the end)
                self._break(error)
                return
            else:
                self._journeys[index] = journey
                self._heard_at = time.monotonic()
                yield transmitter_pb2.EncodeStreamRequest(item_id=index, request=request)
            index += 1

    async def _transmit_requests(
        self, encoding: Any
    ) -> AsyncIterator[channel_pb2.TransmitStreamRequest]:
        async for index, response in self._answers(encoding, "encode"):
            request = self._next(index, Journey.after_encode, response)
            if request is not None:
                yield channel_pb2.TransmitStreamRequest(item_id=index, request=request)

    async def _decode_requests(
        self, transmitting: Any
    ) -> AsyncIterator[receiver_pb2.DecodeStreamRequest]:
        async for index, response in self._answers(transmitting, "transmit"):
            request = self._next(index, Journey.after_transmit, response)
            if request is not None:
                yield receiver_pb2.DecodeStreamRequest(item_id=index, request=request)

    async def _finish(self, decoding: Any) -> None:
        async for index, response in self._answers(decoding, "decode"):
            reception = self._next(index, Journey.after_decode, response)
            if reception is not None:
                self._settle(index, reception)
        self._outcomes.put_nowait(None)

    # gRPC consumes the generators above and would swallow what they raise: nothing may escape.
    def _next(self, index: int, step: Callable[[Journey, Any], Any], response: Any) -> Any:
        """The journey's next request, or None where it cannot go on."""
        try:
            return step(self._journeys[index], response)
        except GenJSCCError as error:
            self._settle(index, Failure(index, error))
        except Exception as error:  # noqa: BLE001 (raised to the caller at the end)
            self._break(error)
        return None

    async def _answers(self, call: Any, hop: Hop) -> AsyncIterator[tuple[int, Any]]:
        """Good answers of a stream; bad ones are settled. Ends quietly if the stream breaks."""
        try:
            async for answer in call:
                index = answer.item_id
                self._heard_at = time.monotonic()
                if index not in self._journeys:
                    raise RemoteError(f"{ROLES[hop]} answered item {index}, which is not open")
                if answer.WhichOneof("result") == "error":
                    error = error_from_status(answer.error.code, answer.error.message)
                    self._settle(index, Failure(index, error))
                else:
                    yield index, answer.response
        except grpc.aio.AioRpcError as error:
            role = ROLES[hop]
            self._break(from_rpc_error(error, role, self._transport.addresses[role]))
        except RemoteError as error:
            self._break(error)

    def _break(self, error: Exception) -> None:
        if self._broken is None:
            self._broken = error
