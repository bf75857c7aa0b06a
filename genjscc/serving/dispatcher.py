# SPDX-License-Identifier: Apache-2.0
"""Runs a room's work on threads: the event loop never computes.

Requests are checked on a small pool, wait in a queue, run in batches on one thread (the
device's), and are written out on the pool again. A batch takes what waits when the thread
becomes free: under low load nothing waits for company, unless `max_delay_ms` asks for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from genjscc.errors import DeadlineError, OverloadedError, UnavailableError, UnsupportedError
from genjscc.serving.admission import Admission
from genjscc.serving.context import deadline, has_passed
from genjscc.serving.iterations import Iterations, StepwiseRoom
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
_DRAINING = "the service is shutting down; another one may answer"


@dataclass(eq=False)
class _Waiting(Generic[Job, Result]):
    job: Job
    future: asyncio.Future[Result]
    since: float = field(default_factory=time.monotonic)


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
            max_batch=settings.max_batch, max_delay_s=settings.max_delay_ms / 1000
        )
        self._admission = Admission(
            calls=settings.queue_size,
            items=settings.stream_queue_size,
            streams=settings.max_streams,
        )
        self._pool = ThreadPoolExecutor(_POOL_THREADS, thread_name_prefix="messages")
        self._device = ThreadPoolExecutor(1, thread_name_prefix="device")
        self._iterations: Iterations[Job] | None = None
        self._running: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()
        self._readers: set[asyncio.Task[None]] = set()
        self._draining = False
        self.stream_window = settings.stream_window

    async def start(self) -> None:
        """Loads and warms the room; until then requests are answered UNAVAILABLE."""
        loop = asyncio.get_running_loop()
        room = await loop.run_in_executor(self._device, self._load)
        if isinstance(room, StepwiseRoom):
            self._iterations = Iterations(room, self._device, self._metrics)
        self._room = room

    @property
    def room(self) -> Room[Request, Job, Result, Response]:
        """The loaded room.

        Raises:
            UnavailableError: it is still loading.
        """
        if self._room is None:
            raise UnavailableError("the service is still loading its models; try again later")
        return self._room

    def admit(self, streaming: bool) -> None:
        """Raises GenJSCCError where a call that has just come need not be read."""
        if self._draining:
            raise UnavailableError(_DRAINING)
        try:
            self._admission.check(streaming)
        except OverloadedError:
            self._metrics.rejected.labels("streams" if streaming else "queue").inc()
            raise

    def drain(self) -> None:
        """From now on nothing new is accepted; open streams end when they are answered."""
        self._draining = True
        for reader in self._readers:
            reader.cancel()

    async def answer(self, request: Request) -> Response:
        """The response to a single call.

        Raises:
            GenJSCCError: what is wrong; OverloadedError where there is no place for it.
        """
        place = self._admission.enter_call()
        try:
            return await self.answer_item(request)
        finally:
            place.leave()

    async def answer_item(self, request: Request) -> Response:
        """The response to a request that has been let in.

        Raises:
            GenJSCCError: what is wrong with the request; DeadlineError where its caller had
                stopped waiting before it was computed.
        """
        room, loop = self.room, asyncio.get_running_loop()
        job = await loop.run_in_executor(self._pool, room.prepare, request)
        steps = self._steps_of(job)
        result = await (self._computed(room, job) if steps is None else steps.result(job))
        return await loop.run_in_executor(self._pool, room.finish, job, result)

    async def follow(self, request: Request) -> AsyncGenerator[Any]:
        """The room's reports on a single call that takes many steps, then its response.

        Raises:
            GenJSCCError: as `answer`; UnsupportedError where the request does not take steps.
        """
        place = self._admission.enter_call()
        try:
            room, loop = self.room, asyncio.get_running_loop()
            job = await loop.run_in_executor(self._pool, room.prepare, request)
            steps = self._steps_of(job)
            if steps is None:
                raise UnsupportedError("the request is computed at once; there are no steps")
            async with aclosing(steps.follow(job)) as reports:
                async for report in reports:
                    yield report
            yield await loop.run_in_executor(self._pool, room.finish, job, report.result)
        finally:
            place.leave()

    def _steps_of(self, job: Job) -> Iterations[Job] | None:
        steps = self._iterations
        return steps if steps is not None and steps.takes(job) else None

    async def _computed(self, room: Room[Request, Job, Result, Response], job: Job) -> Result:
        waiting: _Waiting[Job, Result] = _Waiting(job, asyncio.get_running_loop().create_future())
        self._queue.put(room.key(job), waiting, waiting.since, deadline.get())
        self._queue_changed()
        self._arrived.set()
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run_queue())
        try:
            return await waiting.future
        except asyncio.CancelledError:
            if self._queue.discard(waiting):
                # gRPC cancels a call at its deadline as well.
                self._drop("deadline" if has_passed(deadline.get()) else "cancelled")
            raise

    async def _run_queue(self) -> None:
        while len(self._queue):
            now = time.monotonic()
            for late in self._queue.take_expired(now):
                if not late.future.done():
                    late.future.set_exception(DeadlineError("its deadline passed while it waited"))
                self._drop("deadline")
            if batch := self._queue.next_batch(now):
                self._queue_changed()
                await self._run_alive(batch, now)
            elif (due_at := self._queue.due_at()) is not None:
                self._arrived.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._arrived.wait(), max(0.0, due_at - now))

    async def _run_alive(self, batch: list[_Waiting[Job, Result]], now: float) -> None:
        alive = []
        for waiting in batch:
            if waiting.future.done():  # cancelled, and its task has had no time to say so
                self._drop("cancelled")
            else:
                self._metrics.queue_wait_seconds.observe(now - waiting.since)
                alive.append(waiting)
        if alive:
            await self._run_batch(alive)

    def _drop(self, reason: str) -> None:
        self._metrics.dropped.labels(reason).inc()
        self._queue_changed()

    def _queue_changed(self) -> None:
        self._metrics.queue_depth.set(len(self._queue))

    async def _run_batch(self, batch: list[_Waiting[Job, Result]]) -> None:
        self._metrics.batch_size.observe(len(batch))
        loop = asyncio.get_running_loop()
        jobs = [waiting.job for waiting in batch]
        started = time.perf_counter()
        try:
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
        finally:
            seconds = time.perf_counter() - started
            self._metrics.compute_seconds.observe(seconds)
            self._admission.note_served(len(batch), seconds)
        for waiting, result in zip(batch, results, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(result)

    async def answer_stream(
        self, items: AsyncIterable[In], answer_item: Callable[[In], asyncio.Future[Out]]
    ) -> AsyncIterator[Out]:
        """Answers in the order of the items, up to `stream_window` of them in work at a time.

        Args:
            items: of the stream.
            answer_item: starts the work on an item that has been let in.

        Raises:
            OverloadedError: too many streams are open.
            UnavailableError: the service shuts down; what was begun has been answered before.
            Exception: what the source of the items raised; likewise.
        """
        stream = self._admission.enter_stream()
        window = asyncio.Semaphore(self.stream_window)
        answers: asyncio.Queue[asyncio.Future[Out] | None] = asyncio.Queue()
        begun: set[asyncio.Future[Out]] = set()

        async def read() -> None:
            try:
                async for item in items:
                    await window.acquire()
                    place = await self._admission.enter_item()
                    answer = answer_item(item)
                    # Not for its own code to do: a task that is cancelled early never runs.
                    answer.add_done_callback(lambda _, place=place: place.leave())  # type: ignore[misc]
                    begun.add(answer)
                    answers.put_nowait(answer)
            except asyncio.CancelledError:
                if not self._draining:
                    raise
                raise UnavailableError(_DRAINING) from None
            finally:
                answers.put_nowait(None)

        reader = asyncio.create_task(read())
        self._readers.add(reader)
        try:
            while (answer := await answers.get()) is not None:
                yield await answer
                begun.discard(answer)
                window.release()
            await reader
        finally:
            self._readers.discard(reader)
            reader.cancel()
            for answer in begun:
                answer.cancel()
            stream.leave()

    def close(self) -> None:
        """Ends the threads once they are idle."""
        self._pool.shutdown(wait=False)
        self._device.shutdown(wait=False)
