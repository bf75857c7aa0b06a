# SPDX-License-Identifier: Apache-2.0
"""Pipeline of many images over three streams, in which all hops work at the same time.

Every image ends as exactly one outcome, in the order of the images. A bounded number is under
way, so that an endless source is read only as fast as the link carries it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from functools import partial
from typing import Any

from genjscc.client.options import HOPS, Failure, Hop, Options, Reception
from genjscc.client.protocol import ImageInput, Journey
from genjscc.client.resumable import ResumableStream
from genjscc.client.transport import ROLES, Metadata, Transport, checked_length, from_rpc_error
from genjscc.errors import GenJSCCError
from genjscc.v1 import channel_pb2, receiver_pb2, transmitter_pb2

WINDOW = 64
_LAST_WORD_S = 1.0

Outcome = Reception | Failure
_END = object()

_MESSAGES: dict[Hop, Callable[..., Any]] = {
    "encode": transmitter_pb2.EncodeStreamRequest,
    "transmit": channel_pb2.TransmitStreamRequest,
    "decode": receiver_pb2.DecodeStreamRequest,
}
# What an answer makes of a journey: the next hop's request, in the end the reception.
_STEPS: dict[Hop, Callable[[Journey, Any], Any]] = {
    "encode": Journey.after_encode,
    "transmit": Journey.after_transmit,
    "decode": Journey.after_decode,
}


class _Stage:
    """One hop, which receives responses and passes the next requests on."""

    def __init__(self, pipeline: Pipeline, hop: Hop, next_hop: Hop | None) -> None:
        self._pipeline, self._hop, self._next = pipeline, hop, next_hop

    def answered(self, index: int, response: Any) -> None:
        try:
            following = _STEPS[self._hop](self._pipeline.journeys[index], response)
            if self._next is not None:
                self._pipeline.send(self._next, index, following)
                return
        except GenJSCCError as error:
            self.failed(index, error)
        else:
            self._pipeline.settle(index, following)

    def failed(self, index: int, error: GenJSCCError) -> None:
        self._pipeline.settle(index, Failure(index, error))


class Pipeline:
    """One use of the three streams."""

    def __init__(
        self,
        transport: Transport,
        timeout_s: float,
        metadata: Metadata,
        window: int = WINDOW,
    ) -> None:
        self.journeys: dict[int, Journey] = {}
        self._free = asyncio.Semaphore(window)
        self._outcomes: asyncio.Queue[tuple[int, Outcome] | None] = asyncio.Queue()
        self._taken = 0
        self._source_error: Exception | None = None
        self._hops: dict[Hop, ResumableStream[Any]] = {}
        for hop, next_hop in zip(HOPS, (*HOPS[1:], None), strict=True):
            role = ROLES[hop]
            address = transport.addresses[role]
            self._hops[hop] = ResumableStream(
                f"{role} at {address}",
                partial(transport.streams[hop], metadata=metadata),
                partial(transport.wait_connected, hop),
                partial(from_rpc_error, role=role, address=address),
                _Stage(self, hop, next_hop),
                timeout_s,
            )

    async def run(
        self, images: Iterable[ImageInput], options: Callable[[int], Options]
    ) -> AsyncGenerator[Outcome]:
        """Yield the outcomes in the order of the images.

        Raises:
            Exception: what the source of the images raised, after the outcomes of those before.
        """
        feeding = asyncio.create_task(self._feed(iter(images), options))
        tasks = [feeding]
        for hop in HOPS:
            tasks.append(asyncio.create_task(self._drive(hop, after=tasks[-1])))
        for task in tasks:
            # Wakes whoever waits for an outcome: there may be no more, or a task has failed.
            task.add_done_callback(lambda _: self._outcomes.put_nowait(None))
        try:
            due, early = 0, dict[int, Outcome]()
            while not (feeding.done() and due == self._taken):
                for task in tasks:
                    if task.done():
                        task.result()
                arrived = await self._outcomes.get()
                if arrived is None:
                    continue
                index, outcome = arrived
                early[index] = outcome
                while due in early:
                    yield early.pop(due)
                    self._free.release()
                    due += 1
            # The services learn that no more will come.
            await asyncio.wait(tasks, timeout=_LAST_WORD_S)
        finally:
            for task in tasks:
                task.cancel()
        if self._source_error is not None:
            raise self._source_error

    def send(self, hop: Hop, index: int, request: Any) -> None:
        """Pass a request to a hop. Raises InvalidInputError if it is too long."""
        message = _MESSAGES[hop](item_id=index, request=checked_length(request, hop))
        if hop != "transmit":
            message.progress = True  # a large image is no silence
        self._hops[hop].submit(index, message)

    def settle(self, index: int, outcome: Outcome) -> None:
        """Record the outcome of an image."""
        self.journeys.pop(index, None)
        self._outcomes.put_nowait((index, outcome))

    async def _drive(self, hop: Hop, after: asyncio.Task[None]) -> None:
        stream = self._hops[hop]
        after.add_done_callback(lambda _: stream.finish())
        await stream.run()

    async def _feed(self, source: Iterator[ImageInput], options: Callable[[int], Options]) -> None:
        while True:
            await self._free.acquire()
            try:
                # The source may read files or wait: not on the event loop.
                image: Any = await asyncio.to_thread(next, source, _END)
            except Exception as error:  # noqa: BLE001 (raised to the caller at the end)
                self._source_error = error
                return
            if image is _END:
                return
            index = self._taken
            self._taken += 1
            try:
                journey = self.journeys[index] = Journey(options(index))
                self.send("encode", index, await asyncio.to_thread(journey.first, image))
            except GenJSCCError as error:
                self.settle(index, Failure(index, error))
