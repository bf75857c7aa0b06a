# SPDX-License-Identifier: Apache-2.0
"""Growth of resources over an hour of mixed load.

    python benchmarks/serving/soak.py [--pause-ms 100]

Single calls and streams of images of several sizes, rates and SNRs; callers that go away or have
no time; wrong requests; watches of the health. Memory, descriptors and threads of the three
services are noted every ten seconds; the first tenth of the time is warm-up. With a pause the
callers wait after each image, which leaves the machine's cores to others.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
from collections import Counter
from typing import Any

from benchmarks.common.harness import Use, criterion, finish, parser, use_of
from genjscc import AsyncLink, Failure
from genjscc.errors import GenJSCCError
from genjscc.launch.processes import ROLES, LocalServices
from genjscc.loadtest.mix import UNSPECIFIED, Mix, parse_weighted

GROWTH = 0.03
CALLERS, STREAMS = 4, 2
WRONG: list[Any] = [b"no image", b"", "/nowhere/photo.png"]


class Soak:
    """Mixed load until a given time."""

    def __init__(self, addresses: dict[str, str], until: float, pause_s: float) -> None:
        self._addresses, self._until, self._pause_s = addresses, until, pause_s
        self._rng = random.Random(0)  # noqa: S311
        self.ends: Counter[str] = Counter()
        self.mix = Mix(
            parse_weighted(["64:6", "48x32:2", "17x90", "128", "256:0.2"], "size"),
            parse_weighted(["1/768", "1/192", "1/48"], "rate"),
            UNSPECIFIED,
            snrs_db=[-5.0, 0.0, 5.0, 20.0],
        )

    async def run(self) -> None:
        """Run all callers together."""
        async with AsyncLink(**self._addresses) as link, asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(self._call(link))
            for _ in range(STREAMS):
                group.create_task(self._stream(link))
            group.create_task(self._come_and_go())

    def _over(self) -> bool:
        return time.monotonic() >= self._until

    async def _call(self, link: AsyncLink) -> None:
        while not self._over():
            shot = self.mix.draw()
            fate = self._rng.random()
            sending = asyncio.create_task(
                link.send(self._rng.choice(WRONG) if fate < 0.02 else shot.image, **shot.keywords)
            )
            if fate > 0.95:
                await asyncio.sleep(self._rng.uniform(0, 0.02))
                sending.cancel()
            await self._note(sending)
            await asyncio.sleep(self._pause_s)

    async def _stream(self, link: AsyncLink) -> None:
        while not self._over():
            shots = [self.mix.draw() for _ in range(self._rng.randint(1, 200))]
            images = [WRONG[0] if self._rng.random() < 0.01 else shot.image for shot in shots]
            leave_after = self._rng.choice([10, 10_000])
            outcomes = link.send_many(images, snr_db=5.0, rate=shots[0].keywords["rate"])
            count = 0
            async for outcome in outcomes:
                failed = isinstance(outcome, Failure)
                self.ends[outcome.error.code[1] if failed else "OK"] += 1
                count += 1
                if count >= leave_after:
                    break
                await asyncio.sleep(self._pause_s)
            await outcomes.aclose()

    async def _come_and_go(self) -> None:
        """Open links for short use, with hardly any time for it."""
        while not self._over():
            async with AsyncLink(**self._addresses, timeout_s=self._rng.choice([0.01, 5])) as link:
                shot = self.mix.draw()
                await self._note(asyncio.create_task(link.send(shot.image, **shot.keywords)))
            await asyncio.sleep(0.2)

    async def _note(self, sending: asyncio.Task[Any]) -> None:
        try:
            await sending
            self.ends["OK"] += 1
        except GenJSCCError as error:
            self.ends[error.code[1]] += 1
        except asyncio.CancelledError:
            if not sending.cancelled():
                raise
            self.ends["left"] += 1


def growth(values: list[int]) -> float:
    """Return the growth from the first to the last tenth of the values, by their medians."""
    tenth = max(1, len(values) // 10)
    return statistics.median(values[-tenth:]) / statistics.median(values[:tenth]) - 1


def main() -> int:
    made = parser("an hour of mixed load", "bench_serving_soak.json")
    made.add_argument("--seconds", type=float, default=3600.0)
    made.add_argument("--every", type=float, default=10.0, help="seconds between samples")
    made.add_argument("--pause-ms", type=float, default=0.0, help="of a caller after each image")
    arguments = made.parse_args()
    if arguments.short:
        arguments.seconds, arguments.every = 15.0, 0.5
    samples: dict[str, list[Use]] = {role: [] for role in ROLES}
    with LocalServices() as services:
        started = time.monotonic()
        pause_s = arguments.pause_ms / 1000
        soak = Soak(services.addresses, started + arguments.seconds, pause_s)

        async def watched() -> None:
            running = asyncio.create_task(soak.run())
            while not running.done():
                if time.monotonic() - started >= arguments.seconds / 10:
                    for role, service in services.services.items():
                        samples[role].append(use_of(service.process.pid))
                await asyncio.wait({running}, timeout=arguments.every)
            await running

        asyncio.run(watched())
        seconds = time.monotonic() - started
        codes = services.stop()
    criteria, found = [], {}
    for role, uses in samples.items():
        memory = [use.resident_bytes for use in uses]
        descriptors = [use.descriptors for use in uses]
        threads = [use.threads for use in uses]
        tenth = max(1, len(uses) // 10)
        criteria.append(
            criterion(f"{role}: growth of resident memory", growth(memory), GROWTH, at_most=True)
        )
        for name, values in (("descriptors", descriptors), ("threads", threads)):
            more = statistics.median(values[-tenth:]) - statistics.median(values[:tenth])
            criteria.append(criterion(f"{role}: more {name}", more, 2.0, at_most=True))
        criteria.append(criterion(f"{role}: exit code", float(codes[role]), 0.0, at_most=True))
        found[role] = {
            "resident_bytes": memory,
            "descriptors": descriptors,
            "threads": threads,
            "cpu_s": uses[-1].cpu_s,
        }
    bad = sum(soak.ends[name] for name in ("INTERNAL", "UNKNOWN"))
    criteria.append(criterion("INTERNAL or UNKNOWN", float(bad), 0.0, at_most=True))
    return finish(
        arguments.output,
        short=arguments.short,
        criteria=criteria,
        seconds=seconds,
        pause_ms=arguments.pause_ms,
        images=sum(soak.ends.values()),
        ends=dict(soak.ends.most_common()),
        services=found,
    )


if __name__ == "__main__":
    sys.exit(main())
