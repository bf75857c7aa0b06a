# SPDX-License-Identifier: Apache-2.0
"""Reloads under load: is a call lost, and does anything grow?

    python benchmarks/serving/reload.py [--reloads 200]

Callers send images without a pause while transmitter and receiver load their models again, in
turn. The first tenth of the reloads is warm-up.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import statistics
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.common.harness import Use, criterion, finish, parser, use_of
from benchmarks.serving.soak import GROWTH, growth
from genjscc import AsyncLink
from genjscc.errors import GenJSCCError
from genjscc.launch.processes import LocalServices
from genjscc.photos import load_square, sample_photos
from genjscc.repository import REPOSITORY

ROLES = ("transmitter", "receiver")
MODELS = ("faces64", "natural64")
CALLERS = 2


async def load(addresses: dict[str, str], over: asyncio.Event, ends: Counter[str]) -> None:
    """Send images until told to stop."""
    image = load_square(sample_photos()[0], 64)

    async def call(link: AsyncLink, number: int) -> None:
        while not over.is_set():
            try:
                await link.send(image, model=MODELS[number % 2], snr_db=5.0, seed=1)
                ends["OK"] += 1
            except GenJSCCError as error:
                ends[error.code[1]] += 1

    async with AsyncLink(**addresses) as link, asyncio.TaskGroup() as group:
        for number in range(CALLERS):
            group.create_task(call(link, number))


def reloads_of(metrics_url: str) -> dict[str, int]:
    """Return the reloads of a service by result."""
    with urllib.request.urlopen(metrics_url) as response:  # noqa: S310 (our own service)
        text = response.read().decode()
    found = re.findall(r'^genjscc_reloads_total\{result="(\w+)"\} (\S+)', text, re.MULTILINE)
    return {result: int(float(number)) for result, number in found}


async def reload(services: LocalServices, reloads: int, samples: dict[str, list[Use]]) -> None:
    """Let both services reload in turn, and note what they use after each."""
    for number in range(reloads):
        role = ROLES[number % 2]
        service = services.services[role]
        before = await asyncio.to_thread(reloads_of, service.metrics)
        service.process.send_signal(signal.SIGHUP)
        while await asyncio.to_thread(reloads_of, service.metrics) == before:
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)  # the memory of the models before returns
        if number >= reloads // 10:
            samples[role].append(use_of(service.process.pid))


def main() -> int:
    made = parser("reloads under load", "bench_serving_reload.json")
    made.add_argument("--reloads", type=int, default=200)
    arguments = made.parse_args()
    if arguments.short:
        arguments.reloads = 4
    samples: dict[str, list[Use]] = {role: [] for role in ROLES}
    ends: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            shutil.copytree(REPOSITORY / "models" / name, Path(folder) / name)
        flags = {role: ["--bundles", folder] for role in ROLES} | {"channel": []}
        with LocalServices(flags) as services:
            started = time.monotonic()

            async def run() -> None:
                over = asyncio.Event()
                sending = asyncio.create_task(load(services.addresses, over, ends))
                await reload(services, arguments.reloads, samples)
                over.set()
                await sending

            asyncio.run(run())
            seconds = time.monotonic() - started
            results = {role: reloads_of(services.services[role].metrics) for role in ROLES}
            services.stop()
    criteria, found = [], {}
    failed = sum(count for end, count in ends.items() if end != "OK")
    criteria.append(criterion("failed calls", float(failed), 0.0, at_most=True))
    for role, uses in samples.items():
        memory = [use.resident_bytes for use in uses]
        descriptors = [use.descriptors for use in uses]
        tenth = max(1, len(uses) // 10)
        more = statistics.median(descriptors[-tenth:]) - statistics.median(descriptors[:tenth])
        criteria += [
            criterion(f"{role}: failed reloads", results[role].get("failed", 0), 0, at_most=True),
            criterion(f"{role}: growth of resident memory", growth(memory), GROWTH, at_most=True),
            criterion(f"{role}: more descriptors", more, 0.0, at_most=True),
        ]
        found[role] = {
            "reloads": results[role],
            "resident_bytes": memory,
            "descriptors": descriptors,
        }
    values: dict[str, Any] = {"ends": dict(ends), "services": found, "reloading_s": seconds}
    return finish(arguments.output, short=arguments.short, criteria=criteria, **values)


if __name__ == "__main__":
    sys.exit(main())
