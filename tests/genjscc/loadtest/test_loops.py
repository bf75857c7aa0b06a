# SPDX-License-Identifier: Apache-2.0
"""The two loops: how many are under way, and from when latencies count."""

from __future__ import annotations

import asyncio
import random
from itertools import islice, pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from genjscc.errors import OverloadedError
from genjscc.loadtest.loops import Extent, arrivals, closed_loop, open_loop
from genjscc.loadtest.mix import UNSPECIFIED, Mix, parse_weighted
from genjscc.loadtest.recorder import Recorder
from genjscc.loadtest.report import plot, summarise, write_json


def small_mix() -> Mix:
    return Mix(parse_weighted(["8"], "size"), UNSPECIFIED, UNSPECIFIED, [0.0])


class Service:
    """Answers one at a time; stands still during the first `pause` seconds."""

    def __init__(self, pause: float = 0.0, fails: int = 0) -> None:
        self.under_way = self.most = self.asked = 0
        self._pause, self._fails = pause, fails
        self._lock = asyncio.Lock()

    async def send(self, _: Any) -> Any:
        self.asked += 1
        number = self.asked
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            async with self._lock:
                await asyncio.sleep(self._pause)
                self._pause = 0.0
            if number <= self._fails:
                raise OverloadedError("full")
            return SimpleNamespace(seconds={"encode": 0.001, "transmit": 0.002, "decode": 0.003})
        finally:
            self.under_way -= 1


async def test_a_closed_loop_has_as_many_under_way_as_callers() -> None:
    service, recorder = Service(), Recorder()
    extent = Extent(images=100)
    await closed_loop(service.send, small_mix(), recorder, callers=7, extent=extent)
    assert service.most == 7
    assert service.asked == recorder.statuses["OK"] == 100
    assert recorder.in_flight == 0


async def test_an_open_loop_does_not_wait_and_counts_from_when_a_request_was_due() -> None:
    # A service that stands still for half a second is felt by all who come meanwhile: with
    # latencies from the moment of sending, or with callers that wait, only the first would tell.
    service, recorder = Service(pause=0.5), Recorder()
    moments = iter([0.01 * i for i in range(1, 50)])
    await open_loop(service.send, small_mix(), recorder, moments=moments, extent=Extent(images=40))
    assert service.asked == recorder.statuses["OK"] == 40
    assert service.most > 30
    assert recorder.ok.at(99.9) >= 490
    # Due at 0.01 s to 0.4 s, answered after 0.51 s at the earliest.
    assert recorder.ok.at(50) >= 300
    assert recorder.ok.at(1) >= 100


async def test_a_generator_that_is_late_says_so_and_counts_it() -> None:
    service, recorder = Service(), Recorder()
    await asyncio.sleep(0.2)  # everything is overdue
    moments = iter([0.001] * 10)
    await open_loop(service.send, small_mix(), recorder, moments=moments, extent=Extent(seconds=1))
    assert recorder.late.at(0.1) >= 190
    assert recorder.ok.at(0.1) >= 190


async def test_failures_are_counted_by_status_and_kept_apart() -> None:
    service, recorder = Service(fails=10), Recorder()
    extent = Extent(images=30)
    await closed_loop(service.send, small_mix(), recorder, callers=3, extent=extent)
    assert recorder.statuses == {"OK": 20, "RESOURCE_EXHAUSTED": 10}
    assert (len(recorder.ok), len(recorder.failed)) == (20, 10)
    assert sum(second.ok for second in recorder.timeline) == 20
    assert sum(second.failed for second in recorder.timeline) == 10


async def test_an_extent_ends_a_loop_by_time() -> None:
    recorder = Recorder()
    extent = Extent(seconds=0.05)
    await closed_loop(Service().send, small_mix(), recorder, callers=2, extent=extent)
    await open_loop(
        Service().send,
        small_mix(),
        recorder,
        moments=arrivals(1000, "constant", random.Random(0)),
        extent=Extent(seconds=0.05),
    )
    assert recorder.statuses["OK"] >= 49


def test_arrivals() -> None:
    constant = list(islice(arrivals(50, "constant", random.Random(0)), 100))
    assert constant == pytest.approx([0.02 * (i + 1) for i in range(100)])
    poisson = list(islice(arrivals(50, "poisson", random.Random(0)), 10_000))
    gaps = [later - earlier for earlier, later in pairwise(poisson)]
    mean = sum(gaps) / len(gaps)
    # Mean of 10,000 exponentials: one percent standard deviation.
    assert abs(mean - 0.02) < 0.0012
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert abs(spread / mean - 1) < 0.1


async def test_a_report_holds_what_was_measured(tmp_path: Any) -> None:
    service, recorder = Service(fails=1), Recorder()
    extent = Extent(images=11)
    await closed_loop(service.send, small_mix(), recorder, callers=2, extent=extent)
    found = summarise(recorder, 2.0)
    assert (found["images"], found["per_second"], found["ok_per_second"]) == (11, 5.5, 5.0)
    assert found["statuses"] == {"OK": 10, "RESOURCE_EXHAUSTED": 1}
    assert found["latency_ms"].keys() == {"p50", "p90", "p99", "p99.9", "mean", "max"}
    assert found["hop_ms"]["transmit"]["p50"] == pytest.approx(2.0, rel=0.01)
    write_json(tmp_path / "a" / "r.json", found)
    plot(recorder, "title", tmp_path / "a" / "r.png")
    assert (tmp_path / "a" / "r.png").stat().st_size > 5000
