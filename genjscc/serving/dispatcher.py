# SPDX-License-Identifier: Apache-2.0
"""Runs a room's work on threads: the event loop never computes.

Requests are checked on a small pool, wait in a bounded queue, run in batches on one thread
(the device's), and are written out on the pool again. A batch takes what waits when the
thread becomes free: under low load nothing waits for company.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from genjscc.errors import UnavailableError
from genjscc.serving.metrics import Metrics
from genjscc.serving.queue import BatchQueue
from genjscc.serving.room import Job, Room
from genjscc.settings import ServiceSettings

Request = TypeVar("Request")
Response = TypeVar("Response")
Result = TypeVar("Result")
In = TypeVar("In")
Out = TypeVar("Out")

_POOL_THREADS = 2


@dataclass(eq=False)
class _Waiting(Generic[Job, Result]):
    job: Job
    future: asyncio.Future[Result]


class Dispatcher(Generic[Request, Job, Result, Response]):
    """Serves one room. Lives on one event loop."""

    def __init__(
        self,
        load: Callable[[], Room[Request, Job, Result, Response]],
        settings: ServiceSettings,
        metrics: Metrics,
    ) -> None:
        self._load, self._metrics = load, metrics
        self._room: Room[Request, Job, Result, Response] | None = None
        self._queue: BatchQueue[_Waiting[Job, Result]] = BatchQueue(
            size=settings.queue_size, max_batch=settings.max_batch
        )
        self._pool = ThreadPoolExecutor(_POOL_THREADS, thread_name_prefix="messages")
        self._device = ThreadPoolExecutor(1, thread_name_prefix="device")
        self._running: asyncio.Task[None] | None = None
        self._space = asyncio.Event()
        self._checking = 0
        self.stream_window = settings.stream_window

    async def start(self) -> None:
        """Loads and warms the room; until then requests are answered UNAVAILABLE."""
        loop = asyncio.get_running_loop()
        self._room = await loop.run_in_executor(self._device, self._load)

    @property
    def room(self) -> Room[Request, Job, Result, Response]:
        """The loaded room.

        Raises:
            UnavailableError: it is still loading.
        """
        if self._room is None:
            raise UnavailableError("the service is still loading its models; try again later")
        return self._room

    async def answer(self, request: Request, *, patient: bool = False) -> Response:
        """The response to one request.

        Args:
            request: what a caller sent.
            patient: wait while the queue is full. For the items of a stream, whose sender is
                slowed down by that; a caller of its own is told at once.

        Raises:
            GenJSCCError: what is wrong; OverloadedError where the queue is full.
        """
        room, loop = self.room, asyncio.get_running_loop()
        if not patient:
            # Before any work: a flood must not pile up in front of the queue either.
            self._queue.refuse_if_full(self._checking)
        self._checking += 1
        try:
            job = await loop.run_in_executor(self._pool, room.prepare, request)
        finally:
            self._checking -= 1
        while patient and self._queue.full:
            self._space.clear()
            await self._space.wait()
        waiting: _Waiting[Job, Result] = _Waiting(job, loop.create_future())
        self._queue.put(room.key(job), waiting)
        self._metrics.queue_depth.set(len(self._queue))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run_queue())
        try:
            result = await waiting.future
        finally:
            if not waiting.future.done() or waiting.future.cancelled():
                self._queue.discard(waiting)
                self._left_queue()
        return await loop.run_in_executor(self._pool, room.finish, job, result)

    async def _run_queue(self) -> None:
        while batch := self._queue.next_batch():
            self._left_queue()
            alive = [waiting for waiting in batch if not waiting.future.done()]
            if alive:
                await self._run_batch(alive)

    def _left_queue(self) -> None:
        self._metrics.queue_depth.set(len(self._queue))
        self._space.set()

    async def _run_batch(self, batch: list[_Waiting[Job, Result]]) -> None:
        self._metrics.batch_size.observe(len(batch))
        loop = asyncio.get_running_loop()
        jobs = [waiting.job for waiting in batch]
        try:
            with self._metrics.compute_seconds.time():
                results = await loop.run_in_executor(self._device, self.room.run, jobs)
            if len(results) != len(jobs):  # nobody may wait for ever
                raise RuntimeError(f"the room gave {len(results)} results for {len(jobs)} jobs")
        except Exception as error:  # noqa: BLE001 (handed to whoever waits)
            if len(batch) == 1:
                if not batch[0].future.done():
                    batch[0].future.set_exception(error)
                return
            # One bad item must not take its neighbours along: each on its own.
            for waiting in batch:
                await self._run_batch([waiting])
            return
        for waiting, result in zip(batch, results, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(result)

    async def answer_stream(
        self, items: AsyncIterable[In], answer_item: Callable[[In], asyncio.Future[Out]]
    ) -> AsyncIterator[Out]:
        """Answers in the order of the items, up to `stream_window` of them in work at a time."""
        pending: asyncio.Queue[asyncio.Future[Out] | None] = asyncio.Queue(self.stream_window)
        started: set[asyncio.Future[Out]] = set()

        async def read() -> None:
            try:
                async for item in items:
                    task = answer_item(item)
                    started.add(task)
                    await pending.put(task)
            except Exception:
                await pending.put(None)
                raise
            await pending.put(None)

        reader = asyncio.create_task(read())
        try:
            while (task := await pending.get()) is not None:
                yield await task
                started.discard(task)
            await reader
        finally:
            reader.cancel()
            for task in started:
                task.cancel()

    def close(self) -> None:
        """Ends the threads once they are idle."""
        self._pool.shutdown(wait=False)
        self._device.shutdown(wait=False)
