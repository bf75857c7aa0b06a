# SPDX-License-Identifier: Apache-2.0
"""The queue's batches on the device's thread, one after the other, and their results back.

Callbacks instead of tasks: a batch costs one hand-over to the thread and one back, however many
items are in it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic

from genjscc.errors import DeadlineError
from genjscc.serving.context import deadline, has_passed
from genjscc.serving.metrics import Metrics
from genjscc.serving.queue import BatchQueue
from genjscc.serving.room import Job, Result


@dataclass(eq=False)
class _Waiting(Generic[Job, Result]):
    job: Job
    future: asyncio.Future[Result]
    since: float = field(default_factory=time.monotonic)


class BatchRunner(Generic[Job, Result]):
    """Lives on one event loop.

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
        queue: BatchQueue[_Waiting[Job, Result]],
        metrics: Metrics,
        served: Callable[[int, float], None],
    ) -> None:
        self._run, self._device, self._queue = run, device, queue
        self._metrics, self._served = metrics, served
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        # Those whose batch failed: one bad item must not take its neighbours along.
        self._alone: deque[_Waiting[Job, Result]] = deque()
        metrics.queue_depth.set_function(lambda: len(queue))

    async def result(self, key: Hashable, job: Job) -> Result:
        """The result of a job.

        Raises:
            DeadlineError: the caller stopped waiting before it was computed.
            Exception: what the room raised for it.
        """
        loop = asyncio.get_running_loop()
        waiting: _Waiting[Job, Result] = _Waiting(job, loop.create_future())
        self._queue.put(key, waiting, waiting.since, deadline.get())
        self._next(loop)
        try:
            return await waiting.future
        except asyncio.CancelledError:
            if self._queue.discard(waiting):
                # gRPC cancels a call at its deadline as well.
                self._drop("deadline" if has_passed(deadline.get()) else "cancelled")
            raise

    def _drop(self, reason: str) -> None:
        self._metrics.dropped.labels(reason).inc()

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts the next batch, where the device is free and one is due."""
        while not self._busy:
            now = time.monotonic()
            for late in self._queue.take_expired(now):
                if not late.future.done():
                    late.future.set_exception(DeadlineError("its deadline passed while it waited"))
                self._drop("deadline")
            batch = [self._alone.popleft()] if self._alone else self._queue.next_batch(now)
            if not batch:
                self._come_again(loop)
                return
            if alive := [waiting for waiting in batch if self._is_alive(waiting, now)]:
                self._busy = True
                self._metrics.batch_size.observe(len(alive))
                self._device.submit(self._compute, alive, loop)

    def _is_alive(self, waiting: _Waiting[Job, Result], now: float) -> bool:
        if waiting.future.done():  # cancelled, and its task has had no time to say so
            self._drop("cancelled")
            return False
        self._metrics.queue_wait_seconds.observe(now - waiting.since)
        return True

    def _come_again(self, loop: asyncio.AbstractEventLoop) -> None:
        """Looks again when the oldest item will not wait for company any longer."""
        due_at = self._queue.due_at()
        if due_at is None or self._timer is not None:
            return

        def look() -> None:
            self._timer = None
            self._next(loop)

        self._timer = loop.call_later(max(0.0, due_at - time.monotonic()), look)

    def _compute(self, batch: list[_Waiting[Job, Result]], loop: asyncio.AbstractEventLoop) -> None:
        """On the device's thread."""
        started = time.perf_counter()
        outcome: Sequence[Result] | Exception
        try:
            outcome = self._run([waiting.job for waiting in batch])
            if len(outcome) != len(batch):  # nobody may wait for ever
                raise RuntimeError(f"the room gave {len(outcome)} results for {len(batch)} jobs")
        except Exception as error:  # noqa: BLE001 (handed to whoever waits)
            outcome = error
        seconds = time.perf_counter() - started
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._computed, batch, outcome, seconds, loop)

    def _computed(
        self,
        batch: list[_Waiting[Job, Result]],
        outcome: Sequence[Result] | Exception,
        seconds: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._metrics.compute_seconds.observe(seconds)
        self._served(len(batch), seconds)
        if not isinstance(outcome, Exception):
            for waiting, result in zip(batch, outcome, strict=True):
                if not waiting.future.done():
                    waiting.future.set_result(result)
        elif len(batch) > 1:
            self._alone.extend(batch)
        elif not batch[0].future.done():
            batch[0].future.set_exception(outcome)
        self._busy = False
        self._next(loop)
