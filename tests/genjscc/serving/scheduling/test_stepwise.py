# SPDX-License-Identifier: Apache-2.0
"""Jobs of many steps, with an engine that does what a test tells it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry

from genjscc.errors import DeadlineError, InvalidInputError
from genjscc.serving.context import deadline
from genjscc.serving.metrics import Metrics
from genjscc.serving.scheduling.stepwise import StepScheduler


@dataclass(frozen=True)
class FakeReport:
    step: int
    result: str | None


class FakeCourse:
    """Of a job NAME:KEY:STEPS."""

    def __init__(self, job: str) -> None:
        self.name, self.key, steps = job.split(":")
        self.steps, self.done = int(steps), 0


class FakeStepwiseEngine:
    """`gate` holds each step; `log` says who stepped with whom."""

    def __init__(self, max_active: int = 16, max_together: int = 4) -> None:
        self.max_active, self.max_together = max_active, max_together
        self.log: list[list[str]] = []
        self.gate = threading.Semaphore(10_000)
        self.entered = threading.Event()

    def is_stepwise(self, job: str) -> bool:
        return ":" in job

    def begin(self, job: str) -> FakeCourse:
        return FakeCourse(job)

    def advance(self, courses: Sequence[FakeCourse]) -> list[FakeReport]:
        self.entered.set()
        assert self.gate.acquire(timeout=100)
        self.log.append([course.name for course in courses])
        bad = [c for c in courses if c.name.startswith("bad") and c.done == c.steps - 1]
        if bad:
            raise InvalidInputError("job", f"{bad[0].name} is bad")
        for course in courses:
            course.done += 1
        return [FakeReport(c.done, f"<{c.name}>" if c.done == c.steps else None) for c in courses]


@pytest.fixture
def device() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


REGISTRIES: dict[StepScheduler[str], CollectorRegistry] = {}


def make(engine: FakeStepwiseEngine, device: ThreadPoolExecutor) -> StepScheduler[str]:
    metrics = Metrics("fake", "0")
    steps = StepScheduler(engine, device, metrics.inversions)
    REGISTRIES[steps] = metrics.registry
    return steps


def value(steps: StepScheduler[str], name: str, **labels: str) -> float:
    return REGISTRIES[steps].get_sample_value(name, labels) or 0.0


async def entered(engine: FakeStepwiseEngine) -> None:
    assert await asyncio.to_thread(engine.entered.wait, 20)
    engine.entered.clear()


async def test_jobs_of_a_key_step_together_until_their_own_end(
    device: ThreadPoolExecutor,
) -> None:
    engine = FakeStepwiseEngine()
    steps = make(engine, device)
    jobs = ["a:x:3", "b:x:1", "c:y:2"]
    found = await asyncio.gather(*(steps.result(job) for job in jobs))
    assert found == ["<a>", "<b>", "<c>"]
    assert engine.log == [["a", "b"], ["c"], ["a"], ["c"], ["a"]]
    assert value(steps, "genjscc_inversions_total", outcome="finished") == 3
    assert value(steps, "genjscc_inversion_steps_total") == 6
    assert value(steps, "genjscc_active_inversions") == 0


async def test_a_late_short_job_overtakes_a_long_one(device: ThreadPoolExecutor) -> None:
    engine = FakeStepwiseEngine()
    engine.gate = threading.Semaphore(0)
    steps = make(engine, device)
    long = asyncio.create_task(steps.result("long:x:100"))
    await entered(engine)
    short = asyncio.create_task(steps.result("short:x:2"))
    await asyncio.sleep(0)
    engine.gate.release(3)
    assert await short == "<short>"
    assert not long.done()
    assert engine.log[:3] == [["long"], ["long", "short"], ["long", "short"]]
    engine.gate.release(100)
    assert await long == "<long>"


async def test_more_jobs_than_a_step_takes_get_their_turns(device: ThreadPoolExecutor) -> None:
    engine = FakeStepwiseEngine(max_together=2)
    steps = make(engine, device)
    names = "abcde"
    await asyncio.gather(*(steps.result(f"{name}:x:4") for name in names))
    counts: dict[str, int] = {}
    for batch in engine.log:
        assert len(batch) <= 2
        for name in batch:
            counts[name] = counts.get(name, 0) + 1
        assert max(counts.values()) - min(counts.get(name, 0) for name in names) <= 1


async def test_what_finds_no_slot_waits_in_its_order(device: ThreadPoolExecutor) -> None:
    engine = FakeStepwiseEngine(max_active=2)
    engine.gate = threading.Semaphore(0)
    steps = make(engine, device)
    tasks = [asyncio.create_task(steps.result(f"{name}:x:2")) for name in "abcd"]
    await entered(engine)
    assert value(steps, "genjscc_active_inversions") == 2
    assert value(steps, "genjscc_waiting_inversions") == 2
    engine.gate.release(100)
    await asyncio.gather(*tasks)
    assert engine.log == [["a", "b"]] * 2 + [["c", "d"]] * 2


async def test_a_cancelled_job_makes_no_further_step(device: ThreadPoolExecutor) -> None:
    engine = FakeStepwiseEngine()
    engine.gate = threading.Semaphore(0)
    steps = make(engine, device)
    dropped = asyncio.create_task(steps.result("dropped:x:1000"))
    kept = asyncio.create_task(steps.result("kept:x:3"))
    await entered(engine)  # the first step of both is under way
    dropped.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dropped
    assert value(steps, "genjscc_inversions_total", outcome="cancelled") == 1
    engine.gate.release(100)
    assert await kept == "<kept>"
    assert engine.log == [["dropped", "kept"], ["kept"], ["kept"]]


async def test_a_job_may_be_given_up_between_reports_or_while_it_waits(
    device: ThreadPoolExecutor,
) -> None:
    engine = FakeStepwiseEngine(max_active=1)
    steps = make(engine, device)
    async with aclosing(steps.follow("seen:x:1000")) as reports:
        waiting = asyncio.create_task(steps.result("waiting:x:5"))
        async for report in reports:
            if report.step == 3:  # type: ignore[attr-defined]
                waiting.cancel()
                break
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert value(steps, "genjscc_inversions_total", outcome="cancelled") == 2
    assert await steps.result("next:x:1") == "<next>"
    assert ["waiting"] not in engine.log
    assert len(engine.log) < 100


async def test_deadlines_end_jobs(device: ThreadPoolExecutor) -> None:
    engine = FakeStepwiseEngine()
    engine.gate = threading.Semaphore(0)
    steps = make(engine, device)

    async def hurried() -> str:
        deadline.set(time.monotonic() + 0.05)
        return str(await steps.result("late:x:1000"))

    task = asyncio.create_task(hurried())
    await entered(engine)
    await asyncio.sleep(0.06)
    engine.gate.release(100)
    with pytest.raises(DeadlineError):
        await task
    assert engine.log == [["late"]]
    assert value(steps, "genjscc_inversions_total", outcome="deadline") == 1


async def test_a_bad_job_does_not_take_its_neighbours_along(device: ThreadPoolExecutor) -> None:
    engine = FakeStepwiseEngine()
    steps = make(engine, device)
    jobs = ["good:x:4", "bad:x:2", "late:x:6"]
    good, bad, late = await asyncio.gather(
        *(steps.result(job) for job in jobs), return_exceptions=True
    )
    assert (good, late) == ("<good>", "<late>")
    assert isinstance(bad, InvalidInputError)
    assert value(steps, "genjscc_inversions_total", outcome="failed") == 1
    assert value(steps, "genjscc_active_inversions") == 0


async def test_a_slow_reader_misses_reports_but_not_the_last(device: ThreadPoolExecutor) -> None:
    engine = FakeStepwiseEngine()
    steps = make(engine, device)
    seen: list[FakeReport] = []
    async with aclosing(steps.follow("a:x:50")) as reports:
        async for report in reports:
            assert isinstance(report, FakeReport)
            seen.append(report)
            while len(engine.log) < 50 and len(seen) == 1:
                await asyncio.sleep(0.01)
    assert seen[-1] == FakeReport(50, "<a>")
    assert len(seen) < 10
    assert [r.step for r in seen] == sorted({r.step for r in seen})


async def test_other_work_runs_between_steps(device: ThreadPoolExecutor) -> None:
    engine = FakeStepwiseEngine()
    engine.gate = threading.Semaphore(0)
    steps = make(engine, device)
    inversion = asyncio.create_task(steps.result("a:x:5"))
    await entered(engine)
    loop = asyncio.get_running_loop()
    decode = loop.run_in_executor(device, lambda: len(engine.log))
    engine.gate.release(100)
    assert await decode == 1  # after the step that ran, before the next
    assert await inversion == "<a>"
