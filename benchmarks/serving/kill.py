# SPDX-License-Identifier: Apache-2.0
"""A stream of images through services that are killed repeatedly.

    python benchmarks/serving/kill.py

Two replicas of each service; one after the other is killed with SIGKILL, ten times each service,
and started again on its port. Every image of the stream must arrive, once, as the image that it
was sent as: reception number i tells seed i, and what arrives is nearer to image i than to its
neighbours.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from typing import Any

import numpy as np

from benchmarks.common.harness import criterion, finish, parser
from genjscc import Failure, Link
from genjscc.launch.processes import ROLES, LocalService
from genjscc.loadtest.mix import picture

MODEL, RATE, SIDE = "faces64", "1/48", 64
KINDS = 10


class Replicas:
    """Two replicas of each service, on fixed ports."""

    def __init__(self) -> None:
        self._running = {(role, n): LocalService(role, []) for role in ROLES for n in (0, 1)}
        for service in self._running.values():
            service.wait_ready()
        self._ports = {key: s.address.rpartition(":")[2] for key, s in self._running.items()}
        self._lock = threading.Lock()

    def addresses(self) -> dict[str, str]:
        """Addresses of both replicas of each service, as the link's arguments."""
        return {r: ",".join(self._running[r, n].address for n in (0, 1)) for r in ROLES}

    def kill_and_restart(self, role: str, number: int) -> None:
        """Kill a replica while the other one serves; return when it serves again."""
        with self._lock:
            self._running[role, number].kill()
            service = LocalService(role, ["--port", self._ports[role, number]])
            self._running[role, number] = service
            service.wait_ready()

    def stop(self) -> None:
        """Stop all replicas."""
        for service in self._running.values():
            service.terminate()
        for service in self._running.values():
            service.wait()


class Killer(threading.Thread):
    """Killer of services in turn, spread over the images."""

    def __init__(self, replicas: Replicas, kills_each: int, images: int) -> None:
        super().__init__(daemon=True)
        self._replicas = replicas
        self.plan = [(role, i % 2) for i in range(kills_each) for role in ROLES]
        self._every = images / (len(self.plan) + 1)
        self.seen = 0
        self.over = threading.Event()
        self.done: list[dict[str, Any]] = []
        self.error: Exception | None = None

    def wait_until_due(self, number: int) -> None:
        """Delay the source so that images do not run out before the kills."""
        while self.is_alive() and number > (len(self.done) + 1.5) * self._every + 64:
            time.sleep(0.01)

    def run(self) -> None:
        try:
            for number, (role, replica) in enumerate(self.plan, start=1):
                while self.seen < number * self._every and not self.over.is_set():
                    time.sleep(0.01)
                at, started = self.seen, time.monotonic()
                self._replicas.kill_and_restart(role, replica)
                self.done.append(
                    {
                        "service": role,
                        "replica": replica,
                        "at_image": at,
                        "images_meanwhile": self.seen - at,
                        "seconds": time.monotonic() - started,
                    }
                )
        except Exception as error:  # noqa: BLE001 (raised in the main thread)
            self.error = error


def main() -> int:
    made = parser("services killed under a stream", "bench_serving_kill.json")
    made.add_argument("--images", type=int, default=20_000)
    made.add_argument("--kills", type=int, default=10, help="of each service")
    arguments = made.parse_args()
    if arguments.short:
        arguments.images, arguments.kills = 300, 1
    pictures = [picture(SIDE, SIDE, number) for number in range(KINDS)]
    replicas = Replicas()
    killer = Killer(replicas, arguments.kills, arguments.images)
    ends: Counter[str] = Counter()
    seen: Counter[int] = Counter()
    strangers, longest_gap = 0, 0.0
    started = last = time.monotonic()

    def source() -> Any:
        for number in range(arguments.images):
            killer.wait_until_due(number)
            yield pictures[number % KINDS]

    try:
        with Link(**replicas.addresses()) as link:
            killer.start()
            for position, outcome in enumerate(
                link.send_many(source(), snr_db=20.0, model=MODEL, rate=RATE, seed=0)
            ):
                now = time.monotonic()
                longest_gap, last = max(longest_gap, now - last), now
                killer.seen = position + 1
                if isinstance(outcome, Failure):
                    ends[outcome.error.code[1]] += 1
                    seen[outcome.index] += 1
                    continue
                ends["OK"] += 1
                seen[outcome.seed] += 1
                if outcome.seed != position or nearest(outcome.image, pictures) != position % KINDS:
                    strangers += 1
        killer.over.set()
        killer.join(300)
    finally:
        replicas.stop()
    if killer.error is not None:
        raise killer.error
    missing = sum(1 for number in range(arguments.images) if seen[number] == 0)
    twice = sum(1 for count in seen.values() if count > 1)
    during = sum(1 for kill in killer.done if kill["images_meanwhile"] > 0)
    criteria = [
        criterion("images received", float(ends["OK"]), float(arguments.images), at_most=False),
        criterion("images missing", float(missing), 0.0, at_most=True),
        criterion("images twice", float(twice), 0.0, at_most=True),
        criterion("images that are another's", float(strangers), 0.0, at_most=True),
        criterion("kills under the stream", float(during), float(len(killer.plan)), at_most=False),
    ]
    return finish(
        arguments.output,
        short=arguments.short,
        criteria=criteria,
        images=arguments.images,
        seconds=time.monotonic() - started,
        longest_gap_s=longest_gap,
        ends=dict(ends),
        kills=killer.done,
    )


def nearest(image: Any, pictures: list[Any]) -> int:
    """Return the number of the picture that an image resembles most."""
    errors = [np.mean((image.astype(np.float32) - one) ** 2) for one in pictures]
    return int(np.argmin(errors))


if __name__ == "__main__":
    sys.exit(main())
