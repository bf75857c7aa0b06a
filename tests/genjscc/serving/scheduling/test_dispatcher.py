# SPDX-License-Identifier: Apache-2.0
"""The dispatcher: batches, failures, cancellation, overload; no answer is ever lost."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from genjscc.errors import (
    DeadlineError,
    InvalidInputError,
    OverloadedError,
    UnavailableError,
)
from genjscc.layers.tiles import Tiles
from genjscc.serving.context import deadline
from genjscc.serving.metrics import Metrics
from genjscc.serving.scheduling.dispatcher import Dispatcher
from genjscc.serving.scheduling.tiled import Tiled
from genjscc.serving.settings import ServiceSettings
from tests.helpers.fake_engines import FakeEngine, answer_of


async def started(engine: FakeEngine, **settings: Any) -> Dispatcher[Any, Any, Any, Any]:
    dispatcher: Dispatcher[Any, Any, Any, Any] = Dispatcher(
        lambda: engine, ServiceSettings(**settings), Metrics("test", "0")
    )
    await dispatcher.start()
    return dispatcher


async def call(dispatcher: Any, text: str) -> Any:
    """A call of its own, as a server serves it."""
    with dispatcher.enter(streaming=False):
        return await dispatcher.answer(text)


async def hold(engine: FakeEngine, dispatcher: Any) -> asyncio.Task[Any]:
    """The device is busy with one item until the gate opens."""
    engine.gate.clear()
    engine.entered.clear()
    task = asyncio.create_task(call(dispatcher, "first"))
    await asyncio.to_thread(engine.entered.wait, 10)
    return task


async def queued(dispatcher: Any, count: int) -> None:
    while len(dispatcher._queue) < count:
        await asyncio.sleep(0.001)


async def put(dispatcher: Any, *texts: str) -> list[asyncio.Task[Any]]:
    """Requests that wait in the queue, in this order."""
    tasks = []
    for text in texts:
        before = len(dispatcher._queue)
        tasks.append(asyncio.create_task(call(dispatcher, text)))
        await queued(dispatcher, before + 1)
    return tasks


async def test_unavailable_before_the_engine_is_loaded() -> None:
    dispatcher: Dispatcher[Any, Any, Any, Any] = Dispatcher(
        FakeEngine, ServiceSettings(), Metrics("test", "0")
    )
    with pytest.raises(UnavailableError, match="still loading"):
        await call(dispatcher, "x")
    await dispatcher.start()
    assert answer_of(await call(dispatcher, "x")) == "<x>"
    dispatcher.close()


async def test_what_waits_runs_together_by_key_and_in_order() -> None:
    engine = FakeEngine()
    dispatcher = await started(engine, max_batch=3)
    first = await hold(engine, dispatcher)
    texts = ["a:1", "b:2", "c:1", "d:1", "e:1", "f:2"]
    tasks = await put(dispatcher, *texts)
    engine.gate.set()
    assert [answer_of(r) for r in await asyncio.gather(*tasks)] == [f"<{t}>" for t in texts]
    assert answer_of(await first) == "<first>"
    assert engine.batches == [["first"], ["a:1", "c:1", "d:1"], ["b:2", "f:2"], ["e:1"]]
    dispatcher.close()


@pytest.mark.parametrize("bad", ["crash", "reject", "lose", "end"])
async def test_a_bad_item_does_not_take_its_batch_along(bad: str) -> None:
    engine = FakeEngine()
    dispatcher = await started(engine)
    first = await hold(engine, dispatcher)
    tasks = await put(dispatcher, "a", bad, "b")
    engine.gate.set()
    good, failed, other = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(failed, InvalidInputError if bad == "reject" else Exception)
    assert [answer_of(r) for r in (good, other)] == ["<a>", "<b>"]
    await first
    assert answer_of(await call(dispatcher, "after")) == "<after>"
    dispatcher.close()


@pytest.mark.parametrize("bad", ["refuse", "crash-early"])
async def test_a_request_that_fails_its_check_never_waits(bad: str) -> None:
    engine = FakeEngine()
    dispatcher = await started(engine)
    first = await hold(engine, dispatcher)
    with pytest.raises((InvalidInputError, RuntimeError)):
        await call(dispatcher, bad)
    engine.gate.set()
    await first
    assert engine.batches == [["first"]]
    dispatcher.close()


async def test_a_cancelled_item_leaves_the_queue_and_is_not_computed() -> None:
    engine = FakeEngine()
    dispatcher = await started(engine, queue_size=3)
    first = await hold(engine, dispatcher)
    leaving, staying = await put(dispatcher, "leaving", "staying")
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert len(dispatcher._queue) == 1
    assert dispatcher._metrics.registry.get_sample_value("genjscc_queue_depth") == 1
    (newcomer,) = await put(dispatcher, "newcomer")  # its slot is free
    engine.gate.set()
    await asyncio.gather(first, staying, newcomer)
    assert engine.batches == [["first"], ["staying", "newcomer"]]
    dispatcher.close()


async def test_cancelling_what_runs_leaves_its_neighbours_alone() -> None:
    engine = FakeEngine()
    dispatcher = await started(engine)
    first = await hold(engine, dispatcher)
    (second,) = await put(dispatcher, "second")
    first.cancel()
    engine.gate.set()
    assert answer_of(await second) == "<second>"
    with pytest.raises(asyncio.CancelledError):
        await first
    dispatcher.close()


async def test_a_full_queue_refuses_and_recovers() -> None:
    engine = FakeEngine()
    dispatcher = await started(engine, queue_size=4)
    first = await hold(engine, dispatcher)
    waiting = await put(dispatcher, "a", "b", "c")
    with pytest.raises(OverloadedError, match="4 calls are waiting") as caught:
        await call(dispatcher, "d")
    assert 0 < (caught.value.retry_after_s or 0) < 20
    engine.gate.set()
    await asyncio.gather(first, *waiting)
    assert answer_of(await call(dispatcher, "d")) == "<d>"
    dispatcher.close()


async def test_a_flood_is_refused_before_it_is_checked() -> None:
    engine = FakeEngine()
    dispatcher = await started(engine, queue_size=3)
    engine.gate.clear()
    checked = [asyncio.create_task(call(dispatcher, "slow-check")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await call(dispatcher, "d")
    engine.gate.set()
    assert [answer_of(r) for r in await asyncio.gather(*checked)] == ["<slow-check>"] * 3
    assert answer_of(await call(dispatcher, "d")) == "<d>"
    dispatcher.close()


def dropped(dispatcher: Any, reason: str) -> float:
    return float(dispatcher._metrics.dropped.labels(reason)._value.get())


async def test_what_waited_too_long_is_not_computed() -> None:
    # gRPC cancels a call at its deadline; the queue does not count on it.
    engine = FakeEngine()
    dispatcher = await started(engine)
    first = await hold(engine, dispatcher)
    token = deadline.set(time.monotonic() + 0.05)
    (late,) = await put(dispatcher, "late")
    deadline.reset(token)
    (patient,) = await put(dispatcher, "patient")
    await asyncio.sleep(0.1)
    engine.gate.set()
    with pytest.raises(DeadlineError):
        await late
    await asyncio.gather(first, patient)
    assert engine.batches == [["first"], ["patient"]]
    assert dropped(dispatcher, "deadline") == 1
    dispatcher.close()


async def test_a_batch_waits_for_company_where_it_is_told_to() -> None:
    engine = FakeEngine()
    dispatcher = await started(engine, max_batch=2, max_delay_ms=60_000.0)
    one = asyncio.create_task(call(dispatcher, "a"))
    await queued(dispatcher, 1)
    await asyncio.sleep(0.05)
    assert engine.batches == []
    await asyncio.gather(one, call(dispatcher, "b"))
    assert engine.batches == [["a", "b"]]
    dispatcher.close()
    dispatcher = await started(engine, max_delay_ms=20.0)
    assert answer_of(await call(dispatcher, "alone")) == "<alone>"
    dispatcher.close()


def never_at_once(_: object) -> None:
    """No item is quick."""


def answered(dispatcher: Any, items: AsyncIterator[str]) -> Any:
    """A stream of items, as a servicer answers it."""
    return dispatcher.answer_stream(items, never_at_once, dispatcher.answer)


async def texts(*given: str) -> AsyncIterator[str]:
    for text in given:
        yield text


async def test_streams_leave_room_for_single_calls_and_take_turns() -> None:
    engine = FakeEngine()
    dispatcher = await started(engine, queue_size=4, stream_queue_size=2, max_batch=1)
    first = await hold(engine, dispatcher)

    async def use(name: str, count: int) -> list[str]:
        items = texts(*(f"{name}{i}" for i in range(count)))
        return [answer_of(a) async for a in answered(dispatcher, items)]

    greedy = asyncio.create_task(use("g", 30))
    await queued(dispatcher, 2)
    modest = asyncio.create_task(use("m", 2))
    # However many wait in streams, a call of its own finds its slot.
    single = await put(dispatcher, "single", "other", "third")
    with pytest.raises(OverloadedError):
        await call(dispatcher, "one too many")
    engine.gate.set()
    assert await greedy == [f"<g{i}>" for i in range(30)]
    assert await modest == ["<m0>", "<m1>"]
    await asyncio.gather(first, *single)
    order = [batch[0] for batch in engine.batches]
    # The second stream was not held up by all that the first one brought.
    assert order.index("m1") < order.index("g10")
    assert order.index("single") < order.index("g10")
    dispatcher.close()


async def test_slots_come_back_whatever_becomes_of_a_stream() -> None:
    engine = FakeEngine()
    dispatcher = await started(engine, stream_queue_size=3)
    for moment in range(6):
        engine.gate.clear()
        answers = answered(dispatcher, texts("a", "b", "c", "d", "e"))
        taking = asyncio.ensure_future(anext(answers))
        for _ in range(moment):
            await asyncio.sleep(0)
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        await answers.aclose()
        engine.gate.set()
    stream = answered(dispatcher, texts("x", "y"))
    assert [answer_of(a) async for a in stream] == ["<x>", "<y>"]
    # All slots are free again.
    for _ in range(3):
        await asyncio.wait_for(dispatcher._admission.enter_item(), 100)
    dispatcher.close()


async def test_open_streams_are_bounded_beside_single_calls() -> None:
    dispatcher = await started(FakeEngine(), max_streams=1, queue_size=1)
    with dispatcher.enter(streaming=True), dispatcher.enter(streaming=False):
        with pytest.raises(OverloadedError, match="1 streams are open already"):
            dispatcher.enter(streaming=True)
        with pytest.raises(OverloadedError, match="1 calls are waiting already"):
            dispatcher.enter(streaming=False)
    with dispatcher.enter(streaming=True), dispatcher.enter(streaming=False):
        pass
    dispatcher.close()


async def test_draining_ends_streams_when_what_was_begun_is_answered() -> None:
    engine = FakeEngine()
    dispatcher = await started(engine, stream_queue_size=2)
    engine.gate.clear()

    async def endless() -> AsyncIterator[str]:
        while True:
            yield "x"
            await asyncio.sleep(0)

    answers = answered(dispatcher, endless())
    taking = asyncio.ensure_future(anext(answers))
    await asyncio.to_thread(engine.entered.wait, 10)
    dispatcher.drain()
    engine.gate.set()
    got = [answer_of(await taking)]

    async def take_the_rest() -> None:
        async for answer in answers:
            got.append(answer_of(answer))  # noqa: PERF401 (the end is an error)

    with pytest.raises(UnavailableError, match="shutting down"):
        await take_the_rest()
    assert got == ["<x>"] * sum(len(batch) for batch in engine.batches)
    with pytest.raises(UnavailableError, match="shutting down"):
        dispatcher.enter(streaming=False)
    dispatcher.close()


class Watched(FakeEngine):
    """Notes the threads that its steps run on."""

    def __init__(self, quick: bool, runs_quickly: bool = False) -> None:
        super().__init__()
        self.quick, self.runs_quickly = quick, runs_quickly
        self.threads: dict[str, str] = {}

    def is_quick(self, request: str) -> bool:
        return self.quick

    def note(self, step: str) -> None:
        self.threads[step] = threading.current_thread().name.partition("_")[0]

    def prepare(self, request: str) -> str:
        self.note("prepare")
        return super().prepare(request)

    def run(self, jobs: Sequence[str]) -> list[str]:
        self.note("run")
        return super().run(jobs)

    def finish(self, job: str, result: str) -> Any:
        self.note("finish")
        return super().finish(job, result)


HERE = threading.current_thread().name


@pytest.mark.parametrize(
    ("quick", "runs_quickly", "edge", "run"),
    [
        (False, False, "messages", "device"),
        (False, True, "messages", "device"),
        (True, False, HERE, "device"),
        (True, True, HERE, HERE),
    ],
)
async def test_only_what_is_quick_is_done_on_the_event_loop(
    quick: bool, runs_quickly: bool, edge: str, run: str
) -> None:
    engine = Watched(quick, runs_quickly)
    dispatcher = await started(engine)
    assert answer_of(await call(dispatcher, "x")) == "<x>"
    assert engine.threads == {"prepare": edge, "run": run, "finish": edge}
    with pytest.raises(InvalidInputError):
        await call(dispatcher, "refuse")
    dispatcher.close()


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def test_a_stream_answers_in_order_within_its_window() -> None:
    dispatcher = await started(FakeEngine(), stream_window=4)
    working, most = 0, 0

    def at_once(number: int) -> int | None:
        return number if number % 7 == 0 else None

    async def answer(number: int, _: Any) -> int:
        nonlocal working, most
        working += 1
        most = max(most, working)
        await asyncio.sleep(0.002 * (number % 3))  # the later may be ready first
        working -= 1
        return number

    answers = [a async for a in dispatcher.answer_stream(numbers(50), at_once, answer)]
    assert answers == list(range(50))
    # One more is being handed in and one handed out.
    assert 1 < most <= 4 + 2
    dispatcher.close()


async def test_a_stream_that_is_left_cancels_what_it_began() -> None:
    dispatcher = await started(FakeEngine(), stream_window=4)
    begun: list[Any] = []

    async def answer(number: int, _: Any) -> int:
        begun.append(asyncio.current_task())
        if number:
            await asyncio.sleep(3600)
        return number

    answers = dispatcher.answer_stream(numbers(50), never_at_once, answer)
    assert await anext(answers) == 0
    await asyncio.sleep(0.01)
    await answers.aclose()
    await asyncio.sleep(0.01)
    assert 2 <= len(begun) <= 6
    assert all(task.cancelled() for task in begun[1:])
    dispatcher.close()


async def test_a_source_that_breaks_breaks_its_stream_after_the_answers() -> None:
    dispatcher = await started(FakeEngine())

    async def broken() -> AsyncIterator[int]:
        yield 0
        yield 1
        raise RuntimeError("the caller went away")

    async def answer(number: int, _: Any) -> int:
        await asyncio.sleep(0)
        return number

    answers = dispatcher.answer_stream(broken(), never_at_once, answer)
    assert [await anext(answers), await anext(answers)] == [0, 1]
    with pytest.raises(RuntimeError, match="went away"):
        await anext(answers)
    dispatcher.close()


class TilingEngine(FakeEngine):
    """Computes the job "large" in tiles, each of which waits for the gate."""

    def __init__(self, tiles: int) -> None:
        super().__init__()
        self.done = 0

        def work() -> Any:
            for _ in range(tiles):
                self.entered.set()
                self.gate.wait(20)
                self.done += 1
                yield
            return torch.zeros(1)

        self.tiled: Tiled[str, str] = Tiled(
            lambda job: job == "large",
            lambda _: Tiles(tiles, work()),
            lambda _result, _seconds: "<large>",
            nullcontext,
        )


async def test_a_small_image_waits_for_a_tile_and_not_for_a_large_image() -> None:
    engine = TilingEngine(tiles=50)
    dispatcher = await started(engine)
    engine.gate.clear()
    large = asyncio.create_task(call(dispatcher, "large"))
    await asyncio.to_thread(engine.entered.wait, 10)
    (small,) = await put(dispatcher, "small")
    engine.gate.set()
    assert answer_of(await small) == "<small>"
    assert engine.done < 50
    assert answer_of(await large) == "<large>"
    assert engine.done == 50
    dispatcher.close()


async def test_a_large_image_that_nobody_waits_for_costs_no_further_tile() -> None:
    engine = TilingEngine(tiles=50)
    dispatcher = await started(engine)
    engine.gate.clear()
    large = asyncio.create_task(call(dispatcher, "large"))
    await asyncio.to_thread(engine.entered.wait, 10)
    large.cancel()
    with pytest.raises(asyncio.CancelledError):
        await large
    engine.gate.set()
    assert answer_of(await call(dispatcher, "small")) == "<small>"
    assert engine.done <= 2
    dispatcher.close()
