# SPDX-License-Identifier: Apache-2.0
"""Dispatch of requests to an engine on threads, so that the event loop never runs a model.

Requests are checked on a small pool, wait in a queue, run in batches on one thread (the
device's), and are written out on the pool again. Small ones, where an engine says so, are checked
and written on the event loop, a short codeword's noise is even added there: a thread's help would
cost more than it takes. A batch takes what waits when the thread becomes free: under low load
nothing waits for company, unless `max_delay_ms` asks for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Sequence,
)
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from typing import Any, Generic, TypeVar

from genjscc.errors import OverloadedError, UnavailableError, UnsupportedError
from genjscc.serving.engine import Engine, Job, QuickEngine, SizedEngine
from genjscc.serving.metrics import Metrics
from genjscc.serving.scheduling.admission import Admission, Slot
from genjscc.serving.scheduling.batches import BatchRunner
from genjscc.serving.scheduling.queue import BatchQueue
from genjscc.serving.scheduling.stepwise import StepScheduler, StepwiseEngine
from genjscc.serving.scheduling.tiled import TiledEngine
from genjscc.serving.settings import ServiceSettings

Request = TypeVar("Request")
Response = TypeVar("Response")
Result = TypeVar("Result")
In = TypeVar("In")
T = TypeVar("T")
Out = TypeVar("Out")

_POOL_THREADS = 2
# Of one stream: items in work, and answers that its caller has not taken.
_MOST_STREAM_BYTES = 16 * 1024 * 1024
_DRAINING = "the service is shutting down; another one may answer"


class _HeldBytes:
    """Number of bytes that a stream holds in the service."""

    def __init__(self) -> None:
        self._bytes = 0
        self._below_limit = asyncio.Event()
        self._below_limit.set()

    def change(self, by: int) -> None:
        """Add to the number of bytes; negative values subtract."""
        self._bytes += by
        if self._bytes < _MOST_STREAM_BYTES:
            self._below_limit.set()
        else:
            self._below_limit.clear()

    async def below_limit(self) -> None:
        """Wait until the stream may hold another item."""
        await self._below_limit.wait()


class _Begun(Generic[Out]):
    """A stream item in progress, with the latest message to send before its answer."""

    def __init__(
        self, answer: Callable[[Callable[[Out], object]], Coroutine[Any, Any, Out]]
    ) -> None:
        self._changed = asyncio.Event()
        self._latest: Out | None = None
        self.task = asyncio.create_task(answer(self._tell))
        self.task.add_done_callback(lambda _: self._changed.set())

    def _tell(self, message: Out) -> None:
        self._latest = message
        self._changed.set()

    async def before(self) -> AsyncIterator[Out]:
        """Yield messages until the answer is ready; a slow reader misses some."""
        while not self.task.done():
            await self._changed.wait()
            self._changed.clear()
            message, self._latest = self._latest, None
            if message is not None:
                yield message


class Dispatcher(Generic[Request, Job, Result, Response]):
    """Server of one engine. Use it on one event loop."""

    def __init__(
        self,
        load: Callable[[], Engine[Request, Job, Result, Response]],
        settings: ServiceSettings,
        metrics: Metrics,
    ) -> None:
        self._load, self._metrics = load, metrics
        self._engine: Engine[Request, Job, Result, Response] | None = None
        self._queue: BatchQueue[Any] = BatchQueue(
            max_batch=settings.max_batch, max_delay_s=settings.max_delay_ms / 1000
        )
        self._admission = Admission(
            calls=settings.queue_size,
            items=settings.stream_queue_size,
            streams=settings.max_streams,
            evicted=metrics.rejected.labels("idle").inc,
        )
        self._pool = ThreadPoolExecutor(_POOL_THREADS, thread_name_prefix="messages")
        self._device = ThreadPoolExecutor(1, thread_name_prefix="device")
        self._batches: BatchRunner[Job, Result] = BatchRunner(
            self._run, self._device, self._queue, metrics, self._admission.note_served
        )
        self._schedulers: list[StepScheduler[Job]] = []
        self._is_quick: Callable[[Request], bool] = lambda _: False
        self._runs_quickly = False
        self._readers: set[asyncio.Task[None]] = set()
        self._draining = False
        self.stream_window = settings.stream_window

    async def start(self) -> None:
        """Load and warm up the engine; requests get UNAVAILABLE until then."""
        loop = asyncio.get_running_loop()
        engine = await loop.run_in_executor(self._device, self._load)
        if isinstance(engine, StepwiseEngine):
            self._schedulers.append(StepScheduler(engine, self._device, self._metrics.inversions))
        if isinstance(engine, TiledEngine):
            self._schedulers.append(
                StepScheduler(engine.tiled, self._device, self._metrics.large_images)
            )
        if isinstance(engine, QuickEngine):
            self._is_quick, self._runs_quickly = engine.is_quick, engine.runs_quickly
        self._engine = engine

    @property
    def engine(self) -> Engine[Request, Job, Result, Response]:
        """The loaded engine.

        Raises:
            UnavailableError: it is still loading.
        """
        if self._engine is None:
            raise UnavailableError("the service is still loading its models; try again later")
        return self._engine

    def enter(self, streaming: bool, peer: str = "") -> Slot:
        """Return a slot for a call that has arrived; its content has not been read yet.

        Args:
            streaming: whether it is a stream.
            peer: at the other end of its connection.

        Raises:
            OverloadedError: there is none.
            UnavailableError: the service shuts down.
        """
        if self._draining:
            raise UnavailableError(_DRAINING)
        try:
            if streaming:
                return self._admission.enter_stream(peer)
            return self._admission.enter_call(peer)
        except OverloadedError:
            self._metrics.rejected.labels("streams" if streaming else "queue").inc()
            raise

    def drain(self) -> None:
        """Accept nothing new from now on; open streams end when they are answered."""
        self._draining = True
        for reader in self._readers:
            reader.cancel()

    def _run(self, jobs: Sequence[Job]) -> Sequence[Result]:
        return self.engine.run(jobs)

    async def answer(
        self, request: Request, tell: Callable[[Any], object] | None = None
    ) -> Response:
        """Return the response to a request that holds a slot.

        Args:
            request: what to answer.
            tell: called with each report on a request that takes many steps.

        Raises:
            GenJSCCError: what is wrong with the request; DeadlineError where its caller had
                stopped waiting before it was computed.
        """
        if (response := self.answer_at_once(request)) is not None:
            return response
        engine, quick = self.engine, self._is_quick(request)
        job = await self._apart(quick, engine.prepare, request)
        steps = self._steps_of(job)
        if steps is None:
            most = engine.most_together(job) if isinstance(engine, SizedEngine) else None
            result = await self._batches.result(engine.key(job), job, most)
        else:
            result = await steps.result(job, tell)
        return await self._apart(quick, engine.finish, job, result)

    def answer_at_once(self, request: Request) -> Response | None:
        """Return the response to a request that needs only quick work; None for others.

        Raises:
            GenJSCCError: what is wrong with the request.
        """
        engine = self.engine
        if not (self._runs_quickly and self._is_quick(request)):
            return None
        job = engine.prepare(request)
        return engine.finish(job, self._batches.result_here(job))

    async def _apart(self, quick: bool, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function on the pool, or directly if it is quick."""
        if quick:
            return function(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def follow(self, request: Request) -> AsyncGenerator[Any]:
        """Yield the progress reports of a call with many steps, then its response.

        Raises:
            GenJSCCError: as `answer`; UnsupportedError where the request does not take steps.
        """
        engine, quick = self.engine, self._is_quick(request)
        job = await self._apart(quick, engine.prepare, request)
        steps = self._steps_of(job)
        if steps is None:
            raise UnsupportedError("the request is computed at once; there are no steps")
        async with aclosing(steps.follow(job)) as reports:
            async for report in reports:
                yield report
        yield await self._apart(quick, engine.finish, job, report.result)

    def _steps_of(self, job: Job) -> StepScheduler[Job] | None:
        return next((steps for steps in self._schedulers if steps.takes(job)), None)

    async def answer_stream(
        self,
        items: AsyncIterable[In],
        answer_at_once: Callable[[In], Out | None],
        answer_item: Callable[[In, Callable[[Out], object]], Coroutine[Any, Any, Out]],
        size_of: Callable[[Any], int] = lambda _: 0,
    ) -> AsyncIterator[Out]:
        """Yield answers in the order of the items, with up to `stream_window` items in progress.

        No item is begun while those in work, and answers that nobody has taken, hold too many
        bytes.

        Args:
            items: of the stream.
            answer_at_once: answers an item of which all work is quick; None for others.
            answer_item: the work on another item, which begins when it has been let in; it may
                call its second argument with messages that go before the answer.
            size_of: bytes of an item or an answer.

        Raises:
            UnavailableError: the service shuts down; what was begun has been answered before.
            Exception: what the source of the items raised; likewise.
        """
        window = asyncio.Semaphore(self.stream_window)
        answers: asyncio.Queue[Out | _Begun[Out] | None] = asyncio.Queue()
        begun: set[asyncio.Task[Out]] = set()
        held = _HeldBytes()

        def swap(item: In, answer: asyncio.Task[Out]) -> None:
            good = not answer.cancelled() and answer.exception() is None
            held.change(-size_of(item) + (size_of(answer.result()) if good else 0))

        async def begin(item: In) -> _Begun[Out]:
            slot = await self._admission.enter_item()
            one: _Begun[Out] = _Begun(partial(answer_item, item))
            answer = one.task
            # Not for its own code to do: a task that is cancelled early never runs.
            answer.add_done_callback(slot.__exit__)
            held.change(size_of(item))
            answer.add_done_callback(partial(swap, item))
            begun.add(answer)
            return one

        async def read() -> None:
            try:
                async for item in items:
                    await window.acquire()
                    await held.below_limit()
                    answer = answer_at_once(item)
                    if answer is not None:
                        held.change(size_of(answer))
                    answers.put_nowait(await begin(item) if answer is None else answer)
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
                if isinstance(answer, _Begun):
                    async for message in answer.before():
                        yield message
                    done = await answer.task
                    begun.discard(answer.task)
                else:
                    done = answer
                yield done
                held.change(-size_of(done))
                window.release()
            await reader
        finally:
            self._readers.discard(reader)
            reader.cancel()
            for task in begun:
                task.cancel()

    def close(self) -> None:
        """End the threads once they are idle."""
        self._pool.shutdown(wait=False)
        self._device.shutdown(wait=False)
