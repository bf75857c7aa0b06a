# SPDX-License-Identifier: Apache-2.0
"""Closed-loop and open-loop load generation.

A closed loop has a fixed number of callers, each waiting for its response: it measures throughput.
An open loop sends on a schedule, independently of responses: it measures the latency seen by
independent callers. Its latencies count from the time at which a request was due, not from the
time at which it was sent, so that a stall affects all requests due meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from genjscc.client.options import Reception
from genjscc.errors import GenJSCCError
from genjscc.loadtest.mix import Mix, Shot
from genjscc.loadtest.recorder import Recorder

Send = Callable[[Shot], Awaitable[Reception]]


@dataclass(frozen=True)
class Extent:
    """Length of a load test: a duration or a number of images, whichever is reached first."""

    seconds: float | None = None
    images: int | None = None

    def over(self, elapsed_s: float, begun: int) -> bool:
        """Return whether the load test is over."""
        late = self.seconds is not None and elapsed_s >= self.seconds
        return late or (self.images is not None and begun >= self.images)


async def _one(send: Send, shot: Shot, due: float, recorder: Recorder) -> None:
    recorder.in_flight += 1
    recorder.late.add(time.perf_counter() - due)
    status, hops = "OK", {}
    try:
        reception = await send(shot)
        hops = {str(hop): seconds for hop, seconds in reception.seconds.items()}
    except GenJSCCError as error:
        status = error.code[1]
    finally:
        recorder.in_flight -= 1
    recorder.end(status, time.perf_counter() - due, shot.size, hops)


async def closed_loop(
    send: Send, mix: Mix, recorder: Recorder, *, callers: int, extent: Extent
) -> None:
    """Run a number of callers, each with one image in flight at a time."""
    begun = 0

    async def call() -> None:
        nonlocal begun
        while not extent.over(recorder.elapsed_s, begun):
            begun += 1
            await _one(send, mix.draw(), time.perf_counter(), recorder)

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(call())


def arrivals(
    per_second: float, kind: Literal["poisson", "constant"], rng: random.Random
) -> Iterator[float]:
    """Yield the due times of requests, in seconds from the start."""
    moment = 0.0
    while True:
        moment += rng.expovariate(per_second) if kind == "poisson" else 1 / per_second
        yield moment


async def open_loop(
    send: Send, mix: Mix, recorder: Recorder, *, moments: Iterator[float], extent: Extent
) -> None:
    """Send at the given due times, then wait for all responses."""
    begun = 0
    async with asyncio.TaskGroup() as group:
        for moment in moments:
            if extent.over(moment, begun):
                break
            begun += 1
            due = recorder.started_at + moment
            if (pause := due - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            group.create_task(_one(send, mix.draw(), due, recorder))
            if pause <= 0:
                await asyncio.sleep(0)  # behind schedule: responses must still be processed
