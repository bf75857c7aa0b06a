# SPDX-License-Identifier: Apache-2.0
"""Scheduling of jobs with many steps, step by step.

Between any two steps jobs may join and leave: a short one that comes late does not wait for the
end of a long one, and what nobody waits for any more costs no further step. The steps run on
the device's thread, one submission each, so that ordinary batches run in between.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Hashable, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from genjscc.errors import DeadlineError
from genjscc.serving.context import deadline, has_passed, is_due
from genjscc.serving.metrics import StepMetrics

J_contra = TypeVar("J_contra", contravariant=True)
J = TypeVar("J")


class Report(Protocol):
    """Progress of a job after a step."""

    @property
    def result(self) -> Any:
        """Result for `Engine.finish` after the last step; None before."""
        ...


class Course(Protocol):
    """State of a job with many steps."""

    @property
    def key(self) -> Hashable:
        """Return the batching key: jobs with equal keys may make a step together."""
        ...


@runtime_checkable
class StepwiseEngine(Protocol[J_contra]):
    """An engine with jobs of many steps; `Engine.run` runs all of them at once.

    Attributes:
        max_active: courses that may be on their way; others wait for a slot, in their order.
        max_together: courses that advance together; where more are on their way, they take turns.
    """

    max_active: int
    max_together: int

    def is_stepwise(self, job: J_contra) -> bool:
        """Return whether a job has many steps."""
        ...

    def begin(self, job: J_contra) -> Course:
        """Return the state of a job before its first step. Cheap: `advance` does the work."""
        ...

    def advance(self, courses: Sequence[Any]) -> Sequence[Report]:
        """Run one step of each job; no job's result depends on the others."""
        ...


@dataclass(eq=False)
class _Entry:
    course: Course
    until: float | None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    report: Report | None = None
    error: Exception | None = None
    alone: bool = False
    """steps by itself, since a step with others failed"""

    def fail(self, error: Exception) -> None:
        self.error = error
        self.changed.set()


class StepScheduler(Generic[J]):
    """Scheduler of one engine's steps on an executor. Use it on one event loop."""

    def __init__(self, engine: StepwiseEngine[J], device: Executor, metrics: StepMetrics) -> None:
        self._engine, self._device, self._metrics = engine, device, metrics
        # Who is to step next comes first.
        self._active: deque[_Entry] = deque()
        self._waiting: deque[_Entry] = deque()
        self._running: asyncio.Task[None] | None = None

    def takes(self, job: J) -> bool:
        """Return whether a job is one of many steps."""
        return self._engine.is_stepwise(job)

    async def follow(self, job: J) -> AsyncGenerator[Report]:
        """Yield the reports of a job, the last one with its result; closing the iterator ends the
        job.

        A slow reader misses reports, never the last one.

        Raises:
            DeadlineError: the caller has stopped waiting.
            Exception: what the engine raised for this job.
        """
        entry = _Entry(self._engine.begin(job), deadline.get())
        self._waiting.append(entry)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        outcome = "cancelled"
        try:
            while True:
                await entry.changed.wait()
                entry.changed.clear()
                if entry.error is not None:
                    outcome = "deadline" if isinstance(entry.error, DeadlineError) else "failed"
                    raise entry.error
                if entry.report is None:
                    raise RuntimeError("a course changed without a report")
                finished = entry.report.result is not None
                if finished:
                    outcome = "finished"
                yield entry.report
                if finished:
                    return
        finally:
            # gRPC cancels a call at its deadline as well.
            if outcome == "cancelled" and is_due(entry.until):
                outcome = "deadline"
            self._metrics.ended.labels(outcome).inc()
            self._remove(entry)

    async def result(self, job: J, tell: Callable[[Any], object] | None = None) -> Any:
        """Return the result of a job; `tell` is called with earlier reports. Raises as `follow`."""
        found = None
        async with aclosing(self.follow(job)) as reports:
            async for report in reports:
                found = report.result
                if tell is not None and found is None:
                    tell(report)
        return found

    def _remove(self, entry: _Entry) -> None:
        for line in (self._active, self._waiting):
            if entry in line:
                line.remove(entry)
        self._note()

    def _note(self) -> None:
        self._metrics.active.set(len(self._active))
        self._metrics.waiting.set(len(self._waiting))

    async def _run(self) -> None:
        while batch := self._next_batch():
            await self._step(batch)

    def _next_batch(self) -> list[_Entry]:
        """Return the jobs whose turn it is, without removing them from the line."""
        while self._waiting and len(self._active) < self._engine.max_active:
            self._active.append(self._waiting.popleft())
        self._note()
        for entry in [*self._active]:
            if has_passed(entry.until):
                self._active.remove(entry)
                entry.fail(DeadlineError("its deadline passed before it was at its end"))
        if not self._active:
            # What waits may now have a slot.
            return self._next_batch() if self._waiting else []
        first = self._active[0]
        if first.alone:
            return [first]
        key = first.course.key
        fitting = [one for one in self._active if not one.alone and one.course.key == key]
        return fitting[: self._engine.max_together]

    async def _step(self, batch: list[_Entry]) -> None:
        started = time.perf_counter()
        courses = [entry.course for entry in batch]
        loop = asyncio.get_running_loop()
        try:
            reports = await loop.run_in_executor(self._device, self._engine.advance, courses)
            if len(reports) != len(batch):  # nobody may wait for ever
                raise RuntimeError(f"{len(reports)} reports for {len(batch)} courses")
        except Exception as error:  # noqa: BLE001 (handed to whoever waits)
            if len(batch) == 1:
                self._leave(batch[0])
                batch[0].fail(error)
            # One bad course must not take its neighbours along: each on its own from here.
            for entry in batch:
                entry.alone = True
            return
        seconds = time.perf_counter() - started
        self._metrics.step_seconds.observe(seconds)
        self._metrics.steps.inc(len(batch))
        if self._metrics.together is not None:
            self._metrics.together.observe(len(batch))
        for entry, report in zip(batch, reports, strict=True):
            present = self._leave(entry)
            if present and report.result is None:
                self._active.append(entry)
            entry.report = report
            entry.changed.set()

    def _leave(self, entry: _Entry) -> bool:
        """Remove an entry from the line; False if it has left during its step."""
        if entry not in self._active:
            return False
        self._active.remove(entry)
        return True
