# SPDX-License-Identifier: Apache-2.0
"""A service at five times what it can do.

    python benchmarks/serving_overload.py

First the transmitter's capacity, from a closed loop of single calls; then calls at five times
that rate for a minute, at random moments, whatever comes back. The client does not repeat what is
refused. How long a refusal takes counts from the moment at which the client made the call; from
when it was due is told beside, and how late the client itself was: it shares the machine.
Capacity is measured again afterwards: a machine that others use has more than one.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from itertools import takewhile
from typing import Any

import grpc
from serving_harness import (
    ENCODE,
    criterion,
    finish,
    image_requests,
    parser,
    unary_load,
    use_of,
)

from genjscc.launch import LocalService
from genjscc.loadtest.loops import arrivals
from genjscc.loadtest.recorder import Latencies

MODEL, RATE, FACTOR = "faces64", "1/48", 5.0
GOODPUT, REJECTED_MS, GROWTH = 0.9, 50.0, 0.03


class Flood:
    """Calls at given moments."""

    def __init__(self, address: str, pid: int, payloads: list[bytes]) -> None:
        self._address, self._pid, self._payloads = address, pid, payloads
        self.statuses: Counter[str] = Counter()
        self.rejected, self.good, self.late = Latencies(), Latencies(), Latencies()
        self.refusal = Latencies()  # of the rejected, from when the client got round to them
        self.resident: list[int] = []

    async def run(self, per_second: float, seconds: float) -> None:
        """All calls, until the last has its answer."""
        async with grpc.aio.insecure_channel(self._address) as connection:
            call = connection.unary_unary(ENCODE)
            await connection.channel_ready()
            sampling = asyncio.create_task(self._sample())
            rng = random.Random(0)  # noqa: S311
            moments = takewhile(lambda m: m < seconds, arrivals(per_second, "poisson", rng))
            started = time.perf_counter()
            async with asyncio.TaskGroup() as group:
                for number, moment in enumerate(moments):
                    due = started + moment
                    pause = due - time.perf_counter()
                    await asyncio.sleep(max(0.0, pause))
                    group.create_task(self._one(call, number, due))
            sampling.cancel()

    async def _one(self, call: Any, number: int, due: float) -> None:
        begun = time.perf_counter()
        self.late.add(begun - due)
        try:
            await call(self._payloads[number % len(self._payloads)])
            code = "OK"
        except grpc.aio.AioRpcError as error:
            code = error.code().name
        self.statuses[code] += 1
        now = time.perf_counter()
        if code == "OK":
            self.good.add(now - due)
        else:
            self.rejected.add(now - due)
            self.refusal.add(now - begun)

    async def _sample(self) -> None:
        while True:
            self.resident.append(use_of(self._pid).resident_bytes)
            await asyncio.sleep(0.5)

    def growth(self) -> float:
        """Of resident memory, from the second quarter of the time to the last."""
        quarter = max(1, len(self.resident) // 4)
        before = sum(self.resident[quarter : 2 * quarter]) / quarter
        return sum(self.resident[-quarter:]) / quarter / before - 1


def capacity(address: str, payloads: list[bytes], count: int) -> float:
    """Calls per second of a closed loop with as many callers as fill the batches."""
    load = unary_load(address, ENCODE, payloads, count=count, in_flight=64)
    return asyncio.run(load).ok_per_second


def main() -> int:
    made = parser("five times the capacity", "bench_serving_overload.json")
    made.add_argument("--seconds", type=float, default=60.0)
    arguments = made.parse_args()
    seconds, count = (5.0, 200) if arguments.short else (arguments.seconds, 4000)
    payloads = [request.SerializeToString() for request in image_requests(64, RATE)]
    service = LocalService("transmitter", ["--default-model", MODEL])
    try:
        service.wait_ready()
        capacity(service.address, payloads, count)  # warms up
        before = capacity(service.address, payloads, count)
        flood = Flood(service.address, service.process.pid, payloads)
        started = time.perf_counter()
        asyncio.run(flood.run(FACTOR * before, seconds))
        took = time.perf_counter() - started
        after = capacity(service.address, payloads, count)
    finally:
        service.terminate()
        code = service.wait()
    mean = (before + after) / 2
    goodput = flood.statuses["OK"] / took
    other = {k: v for k, v in flood.statuses.items() if k not in ("OK", "RESOURCE_EXHAUSTED")}
    if not len(flood.rejected):
        raise SystemExit("nothing was rejected: the client could not send fast enough")
    criteria = [
        criterion("goodput over capacity", goodput / mean, GOODPUT, at_most=False),
        criterion("rejected within, p99 in ms", flood.refusal.at(99), REJECTED_MS, at_most=True),
        criterion("growth of resident memory", flood.growth(), GROWTH, at_most=True),
        criterion("other statuses", float(sum(other.values())), 0.0, at_most=True),
        criterion("exit code afterwards", float(code), 0.0, at_most=True),
    ]
    return finish(
        arguments.output,
        short=arguments.short,
        criteria=criteria,
        model=MODEL,
        bandwidth_ratio=RATE,
        seconds=took,
        capacity_per_second={"before": before, "after": after},
        asked_per_second=sum(flood.statuses.values()) / seconds,
        goodput_per_second=goodput,
        statuses=dict(flood.statuses),
        rejected_ms=flood.refusal.summary(),
        rejected_since_due_ms=flood.rejected.summary(),
        good_ms=flood.good.summary(),
        generator_late_ms=flood.late.summary(),
        resident_bytes={"first": flood.resident[0], "last": flood.resident[-1]},
    )


if __name__ == "__main__":
    sys.exit(main())
