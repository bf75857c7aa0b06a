# SPDX-License-Identifier: Apache-2.0
"""A service under five times its capacity.

    python benchmarks/serving/overload.py

First the transmitter's capacity, from a closed loop of single calls; then calls at five times
that rate for a minute, at random moments, whatever comes back. The client does not repeat what is
refused. How long a refusal takes counts from the moment at which the client made the call; from
when it was due is told beside, and how late the client itself was: it shares the machine.
Capacity is measured again afterwards: a machine that others use has more than one.

Twice: as the operating system schedules it, and with a core kept for the device.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import sys
import time
from collections import Counter
from itertools import takewhile
from typing import Any

import grpc

from benchmarks.common.harness import (
    ENCODE,
    criterion,
    finish,
    image_requests,
    parser,
    unary_load,
    use_of,
)
from genjscc.launch.processes import LocalService
from genjscc.loadtest.loops import arrivals
from genjscc.loadtest.recorder import Latencies
from genjscc.serving.cores import keep_for_device

MODEL, RATE, FACTOR = "faces64", "1/48", 5.0
GOODPUT, REJECTED_MS, GROWTH = 0.9, 50.0, 0.03


class Flood:
    """Calls at given times."""

    def __init__(self, address: str, pid: int, payloads: list[bytes]) -> None:
        self._address, self._pid, self._payloads = address, pid, payloads
        self.statuses: Counter[str] = Counter()
        self.rejected, self.good, self.late = Latencies(), Latencies(), Latencies()
        self.refusal = Latencies()  # of the rejected, from when the client got round to them
        self.resident: list[int] = []

    async def run(self, per_second: float, seconds: float) -> None:
        """Send all calls and wait for the last answer."""
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
        """Return the growth of resident memory from the second to the last quarter of the time."""
        quarter = max(1, len(self.resident) // 4)
        before = sum(self.resident[quarter : 2 * quarter]) / quarter
        return sum(self.resident[-quarter:]) / quarter / before - 1


def capacity(address: str, payloads: list[bytes], count: int) -> float:
    """Measure calls per second of a closed loop with enough callers to fill the batches."""
    load = unary_load(address, ENCODE, payloads, count=count, in_flight=64)
    return asyncio.run(load).ok_per_second


def measure(cores: str, seconds: float, count: int) -> dict[str, Any]:
    """Measure one overload, with cores reserved for the compute thread (empty: none).

    This process, whose calls cost more than the service's work, keeps off them as well.
    """
    payloads = [request.SerializeToString() for request in image_requests(64, RATE)]
    flags = ["--device-cores", cores] if cores else []
    service = LocalService("transmitter", ["--default-model", MODEL, *flags])
    own = os.sched_getaffinity(0)
    try:
        service.wait_ready()
        keep_for_device(cores)
        capacity(service.address, payloads, count)  # warms up
        before = capacity(service.address, payloads, count)
        flood = Flood(service.address, service.process.pid, payloads)
        started = time.perf_counter()
        asyncio.run(flood.run(FACTOR * before, seconds))
        took = time.perf_counter() - started
        after = capacity(service.address, payloads, count)
    finally:
        os.sched_setaffinity(0, own)
        service.terminate()
        code = service.wait()
    if not len(flood.rejected):
        raise SystemExit("nothing was rejected: the client could not send fast enough")
    return {
        "device_cores": cores,
        "seconds": took,
        "capacity_per_second": {"before": before, "after": after},
        "asked_per_second": sum(flood.statuses.values()) / seconds,
        "goodput_per_second": flood.statuses["OK"] / took,
        "statuses": dict(flood.statuses),
        "rejected_ms": flood.refusal.summary(),
        "rejected_since_due_ms": flood.rejected.summary(),
        "good_ms": flood.good.summary(),
        "generator_late_ms": flood.late.summary(),
        "growth_of_resident_memory": flood.growth(),
        "resident_bytes": {"first": flood.resident[0], "last": flood.resident[-1]},
        "exit_code": code,
    }


def judged(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Check the criteria of one overload."""
    where = ", a core for the device" if found["device_cores"] else ""
    able, statuses = found["capacity_per_second"], found["statuses"]
    goodput = found["goodput_per_second"] / statistics.mean(able.values())
    other = [count for name, count in statuses.items() if name not in ("OK", "RESOURCE_EXHAUSTED")]
    refused, growth = found["rejected_ms"]["p99"], found["growth_of_resident_memory"]
    return [
        criterion(f"goodput over capacity{where}", goodput, GOODPUT, at_most=False),
        criterion(f"rejected within, p99 in ms{where}", refused, REJECTED_MS, at_most=True),
        criterion(f"growth of resident memory{where}", growth, GROWTH, at_most=True),
        criterion(f"other statuses{where}", float(sum(other)), 0.0, at_most=True),
        criterion(f"exit code afterwards{where}", float(found["exit_code"]), 0.0, at_most=True),
    ]


def main() -> int:
    made = parser("five times the capacity", "bench_serving_overload.json")
    made.add_argument("--seconds", type=float, default=60.0)
    arguments = made.parse_args()
    seconds, count = (5.0, 200) if arguments.short else (arguments.seconds, 4000)
    cores = sorted(os.sched_getaffinity(0))
    kept = ["", *([str(cores[0])] if len(cores) > 1 else [])]
    floods = [measure(one, seconds, count) for one in kept]
    return finish(
        arguments.output,
        short=arguments.short,
        criteria=[one for flood in floods for one in judged(flood)],
        model=MODEL,
        bandwidth_ratio=RATE,
        floods=floods,
    )


if __name__ == "__main__":
    sys.exit(main())
