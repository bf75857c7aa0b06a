# SPDX-License-Identifier: Apache-2.0
"""Execution of the queue's batches on the compute thread.

The thread takes its next batch itself: it does not wait for the event loop, however busy that is
with messages. Between two batches it lets others have their turn on the device.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic

from genjscc.errors import DeadlineError
from genjscc.serving.context import deadline, is_due
from genjscc.serving.engine import Job, Result
from genjscc.serving.metrics import Metrics
from genjscc.serving.scheduling.queue import BatchQueue


@dataclass(eq=False)
class _Waiting(Generic[Job, Result]):
    job: Job
    future: asyncio.Future[Result]
    since: float = field(default_factory=time.monotonic)


class BatchRunner(Generic[Job, Result]):
    """Runner of batches, on one event loop and one compute thread.

    Args:
        run: computes jobs of one key.
        device: of one thread.
        queue: forms the batches.
        metrics: of the service.
        served: told the size and the seconds of each batch.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Job]], Sequence[Result]],
        device: Executor,
        queue: BatchQueue[Any],
        metrics: Metrics,
        served: Callable[[int, float], None],
    ) -> None:
        self._run, self._device = run, device
        self._queue: BatchQueue[_Waiting[Job, Result]] = queue
        self._metrics, self._served = metrics, served
        # Of the queue and of whether the thread looks into it by itself.
        self._lock = threading.Lock()
        self._idle = True
        self._timer: asyncio.TimerHandle | None = None
        metrics.queue_depth.set_function(lambda: len(queue))

    async def result(self, key: Hashable, job: Job, most: int | None = None) -> Result:
        """Return the result of a job, batched with at most that many of its key (None: the queue's
        limit).

        Raises:
            DeadlineError: the caller stopped waiting before it was computed.
            Exception: what the engine raised for it.
        """
        loop = asyncio.get_running_loop()
        waiting: _Waiting[Job, Result] = _Waiting(job, loop.create_future())
        with self._lock:
            self._queue.put(key, waiting, waiting.since, deadline.get(), most)
        self._wake(loop)
        try:
            return await waiting.future
        except asyncio.CancelledError:
            with self._lock:
                left = self._queue.discard(waiting)
            if left:
                # gRPC cancels a call at its deadline as well.
                self._drop("deadline" if is_due(deadline.get()) else "cancelled")
            raise

    def result_here(self, job: Job) -> Result:
        """Compute a quick job on the event loop; handing it to the thread would take longer."""
        started = time.perf_counter()
        (result,) = self._run([job])
        self._metrics.batch_size.observe(1)
        self._metrics.compute_seconds.observe(time.perf_counter() - started)
        return result

    def _drop(self, reason: str) -> None:
        self._metrics.dropped.labels(reason).inc()

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            idle, self._idle = self._idle, False
        if idle:
            self._device.submit(self._work, loop)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Compute one batch on the compute thread."""
        now = time.monotonic()
        with self._lock:
            late = self._queue.take_expired(now)
            batch = self._queue.next_batch(now)
            due_at = self._queue.due_at()
            self._idle = not batch
        with suppress(RuntimeError):  # the loop or the device is closed: nobody waits any more
            if late:
                loop.call_soon_threadsafe(self._expire, late)
            if batch:
                self._compute([w for w in batch if self._is_alive(w, now)], loop)
                self._device.submit(self._work, loop)
            elif due_at is not None:
                loop.call_soon_threadsafe(self._come_again, due_at, loop)

    def _is_alive(self, waiting: _Waiting[Job, Result], now: float) -> bool:
        if waiting.future.done():  # cancelled, and its task has had no time to say so
            self._drop("cancelled")
            return False
        self._metrics.queue_wait_seconds.observe(now - waiting.since)
        return True

    def _compute(self, batch: list[_Waiting[Job, Result]], loop: asyncio.AbstractEventLoop) -> None:
        if not batch:
            return
        self._metrics.batch_size.observe(len(batch))
        started = time.perf_counter()
        outcome: Sequence[Result] | Exception
        try:
            outcome = self._run([waiting.job for waiting in batch])
            if len(outcome) != len(batch):  # nobody may wait for ever
                raise RuntimeError(f"the engine gave {len(outcome)} results for {len(batch)} jobs")
        except Exception as error:  # noqa: BLE001 (handed to whoever waits)
            outcome = error
        seconds = time.perf_counter() - started
        self._metrics.compute_seconds.observe(seconds)
        if isinstance(outcome, Exception) and len(batch) > 1:
            # One bad item must not take its neighbours along: each on its own.
            for waiting in batch:
                self._compute([waiting], loop)
        else:
            loop.call_soon_threadsafe(self._settle, batch, outcome, seconds)

    def _settle(
        self,
        batch: list[_Waiting[Job, Result]],
        outcome: Sequence[Result] | Exception,
        seconds: float,
    ) -> None:
        self._served(len(batch), seconds)
        for number, waiting in enumerate(batch):
            if waiting.future.done():
                continue
            if isinstance(outcome, Exception):
                waiting.future.set_exception(outcome)
            else:
                waiting.future.set_result(outcome[number])

    def _expire(self, late: list[_Waiting[Job, Result]]) -> None:
        for waiting in late:
            if not waiting.future.done():
                waiting.future.set_exception(DeadlineError("its deadline passed while it waited"))
            self._drop("deadline")

    def _come_again(self, due_at: float, loop: asyncio.AbstractEventLoop) -> None:
        """Look at the queue again when its oldest item stops waiting for batch fill."""
        if self._timer is None:

            def look() -> None:
                self._timer = None
                self._wake(loop)

            self._timer = loop.call_later(max(0.0, due_at - time.monotonic()), look)
