# SPDX-License-Identifier: Apache-2.0
"""Images under random faults of any replica: each is answered, and none is wrong.

Every replica lies behind a TCP proxy. At random times one of a role's two replicas is killed,
told to end, stopped, or falls silent, and comes back some time later. `pytest -m chaos` does each
of that once to the channel alone, then to all three services again and again, while 3,000 images
pass.
"""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from genjscc import Link, LocalLink, Reception
from tests.helpers.pictures import noise
from tests.helpers.real_services import ServiceProcess, Services
from tests.helpers.tcp_proxy import TcpProxy, tcp_proxy

FAULTS = ("kill", "end", "stop", "silence")
KINDS = 40
"""of pictures; each image has noise of its own"""
PACE_S = 0.03


@contextmanager
def proxies() -> Iterator[AsyncExitStack]:
    """A thread with an event loop, and what to open proxies in it with; see `behind_proxy`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    stack = AsyncExitStack()
    stack.loop = loop  # type: ignore[attr-defined]
    try:
        yield stack
    finally:
        asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Replica:
    """A service behind a proxy, which a fault takes away and brings back."""

    def __init__(self, role: str, flags: Sequence[str], log: Path, opened: AsyncExitStack) -> None:
        self._role, self._flags, self._log = role, flags, log
        self.process = ServiceProcess(role, *flags, log=log)
        self._port = self.process.address.rpartition(":")[2]
        loop: asyncio.AbstractEventLoop = opened.loop  # type: ignore[attr-defined]
        opening = opened.enter_async_context(tcp_proxy(int(self._port)))
        self.proxy: TcpProxy = asyncio.run_coroutine_threadsafe(opening, loop).result(60)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.proxy.port}"

    def suffer(self, fault: str, seconds: float) -> None:
        """A fault, and its end."""
        if fault == "silence":
            self.proxy.silent = True
            time.sleep(seconds)
            self.proxy.silent = False
        elif fault == "stop":
            self.process.process.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            self.process.process.send_signal(signal.SIGCONT)
        else:
            if fault == "kill":
                self.process.kill()
            else:
                self.process.terminate()
            # Of two ports the later one counts.
            self.process = ServiceProcess(
                self._role, *self._flags, "--port", self._port, log=self._log
            )


class Chaos:
    """Faults of the replicas of one role, one at a time, in rounds of all kinds, until `end`."""

    def __init__(self, replicas: Sequence[Replica], seed: int, longest_s: float) -> None:
        self._replicas, self._longest_s = replicas, longest_s
        self._random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            for fault in self._random.sample(FAULTS, len(FAULTS)):
                if self._over.wait(self._random.uniform(0.1, 1.0)):
                    return
                replica = self._random.choice(self._replicas)
                replica.suffer(fault, self._random.uniform(0.5, self._longest_s))
                self.done[fault] += 1

    @property
    def had_all(self) -> bool:
        return len(self.done) == len(FAULTS)

    def end(self) -> None:
        self._over.set()
        self._thread.join()


def pictures(count: int) -> Iterator[np.ndarray]:
    return (noise(16, 16, i % KINDS) for i in range(count))


def paced(running: Sequence[Chaos], count: int, sent: list[int]) -> Iterator[np.ndarray]:
    """At least `count` pictures, and until every kind of fault has passed."""
    index = 0
    while index < count or not all(one.had_all for one in running):
        yield noise(16, 16, index % KINDS)
        index += 1
        sent[:] = [index]
        time.sleep(PACE_S)


def under_faults(
    roles: Sequence[str],
    count: int,
    services: Services,
    bundles: Path,
    folder: Path,
    longest_s: float,
) -> tuple[float, Counter[str]]:
    """Sends images while replicas of these roles fail; the longest gap, and the faults."""
    addresses = dict(services.addresses)
    with ExitStack() as stack:
        opened = stack.enter_context(proxies())
        chaos = []
        for number, role in enumerate(roles):
            flags = () if role == "channel" else ("--bundles", str(bundles))
            replicas = [Replica(role, flags, folder / f"{role}{i}", opened) for i in range(2)]
            for replica in replicas:
                stack.callback(lambda replica=replica: replica.process.kill())
            addresses[role] = ",".join(replica.address for replica in replicas)
            chaos.append((replicas, number))
        running = [Chaos(replicas, seed, longest_s) for replicas, seed in chaos]
        try:
            gap, last = 0.0, time.monotonic()
            received, sent = [], [0]
            with Link(**addresses, timeout_s=120.0) as link:
                for outcome in link.send_many(paced(running, count, sent), seed=0, snr_db=5):
                    now = time.monotonic()
                    gap, last = max(gap, now - last), now
                    received.append(outcome)
        finally:
            for one in running:
                one.end()
    assert len(received) == sent[0]
    failed = [one for one in received if not isinstance(one, Reception)]
    assert not failed, failed[:3]
    with LocalLink(bundles=bundles) as local:
        expected = local.send_many(pictures(sent[0]), seed=0, snr_db=5)
        for index, (one, right) in enumerate(zip(received, expected, strict=True)):
            assert one.seed == index
            difference = np.abs(one.image.astype(int) - right.image.astype(int))
            assert difference.max() <= 1, index  # rounding may depend on the batch
    return gap, sum((one.done for one in running), Counter())


@pytest.mark.chaos
def test_faults_of_the_channel_cost_no_image(
    services: Services, bundles: Path, tmp_path: Path
) -> None:
    gap, faults = under_faults(["channel"], 100, services, bundles, tmp_path, 3.0)
    assert set(faults) == set(FAULTS)
    assert gap < 90  # on a machine that may be busy; see below


@pytest.mark.chaos
def test_faults_of_all_services_cost_no_image_in_thousands(
    services: Services, bundles: Path, tmp_path: Path
) -> None:
    roles = ["transmitter", "channel", "receiver"]
    gap, faults = under_faults(roles, 3000, services, bundles, tmp_path, 12.0)
    assert gap < 15, faults
    assert sum(faults.values()) > 10
