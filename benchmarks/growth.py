# SPDX-License-Identifier: Apache-2.0
"""Growth of time and memory with side, batch, replicas and symbols, and of inversions with steps.

    python benchmarks/growth.py

Time is that of the computation alone on one thread (`in_process`), for replicas that of services
under load. Memory is the highest that the process has had, above what it had after loading. The
exponent is the slope of the logarithms: 2 in the side is what the pixels alone would make. Every
curve is measured in several rounds; exponents have their spread. Inversions use the 64x64
generator of models/; without one, a random generator of its size, which takes as long.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.common.estimates import growth
from benchmarks.common.harness import (
    DECODE,
    closed,
    finish,
    grpc_sender,
    measured,
    memory_of_family,
    parser,
)
from benchmarks.common.in_process import (
    MODEL,
    Alone,
    Role,
    make_engine,
    requests_of,
    unit_codewords,
)
from benchmarks.cost_model import GENERATORS, make_generator
from genjscc import Options
from genjscc.bundles.store import find_generators, read_config
from genjscc.client.protocol import decode_request
from genjscc.launch.processes import LocalService
from genjscc.loadtest.mix import Shot
from genjscc.repository import REPOSITORY
from genjscc.serving.settings import ReceiverSettings
from receiver.models import Generators
from receiver.service import ReceiverEngine
from receiver.stylegan2.checkpoints import save_bundle

SIDES = (64, 128, 256, 512, 1024)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
SYMBOLS = (256, 1024, 4096, 16_384, 65_536, 262_144)
REPLICAS = (1, 2, 4)
STEPS = (1, 2, 4, 8)
INVERSIONS = (1, 2, 4)
CALLERS = 16
SEEN_BYTES = 4 * 2**20
MODELS = REPOSITORY / "models"


def computed(
    role: Role, tasks: Sequence[dict[str, int]], seconds: float
) -> tuple[list[float], list[float]]:
    """Return the milliseconds of one run of each task, and the memory beyond that after loading."""
    times, memory = [], []
    with Alone(role) as alone:
        base = alone.ask(batch=1)["peak_bytes"]
        for task in tasks:
            once = min(alone.ask(**task, repeat=2)["walls_s"])
            done = alone.ask(**task, repeat=max(1, round(seconds / once)))
            times.append(1e3 * sum(done["walls_s"]) / len(done["walls_s"]))
            memory.append(float(done["peak_bytes"] - base))
    return times, memory


def curves(
    x: Sequence[float], rounds: int, measure: Callable[[], tuple[list[float], list[float]]]
) -> dict[str, Any]:
    """Fit the growth of time and of memory over rounds.

    What needs less than `SEEN_BYTES` finds them in what loading has left: no growth is seen there.
    """
    times, memories = zip(*(measure() for _ in range(rounds)), strict=True)
    found: dict[str, Any] = {"ms": growth(x, times)}
    seen = [i for i in range(len(x)) if min(one[i] for one in memories) >= SEEN_BYTES]
    if len(seen) > 1:
        found["bytes"] = growth([x[i] for i in seen], [[one[i] for i in seen] for one in memories])
    return found


def replicas(counts: Sequence[int], seconds: float) -> tuple[list[float], list[float]]:
    """Measure images per second and bytes of a number of receivers under load."""
    requests = requests_of("receiver", make_engine("receiver", "float32", 1), 8, 64)
    payloads = [request.SerializeToString() for request in requests]
    flags = ["--max-batch", "16", "--threads", "1", "--default-model", MODEL]
    services: list[LocalService] = []
    rates, memory = [], []
    try:
        for count in counts:
            while len(services) < count:
                services.append(LocalService("receiver", flags))
            for service in services:
                if not service.address:
                    service.wait_ready()
            addresses = [service.address for service in services]
            rates.append(asyncio.run(load(addresses, payloads, seconds)))
            memory.append(float(sum(memory_of_family(one.process.pid) for one in services)))
    finally:
        for service in services:
            service.terminate()
        for service in services:
            service.wait()
    return rates, memory


async def load(addresses: Sequence[str], payloads: list[bytes], seconds: float) -> float:
    """Measure answers per second of all receivers, which take turns."""
    async with contextlib.AsyncExitStack() as stack:
        senders = [await stack.enter_async_context(grpc_sender(at, DECODE)) for at in addresses]
        turns = itertools.cycle(senders)

        async def send(shot: Shot) -> Any:
            return await next(turns)(shot)

        callers = CALLERS * len(addresses)
        found = measured(await closed(send, payloads, callers=callers, seconds=seconds))
    return found["per_second"]


@contextlib.contextmanager
def bundles_with_generator() -> Iterator[tuple[Path, str]]:
    """Make a folder with the pair and a generator; return the generator's name or "random"."""
    for name in find_generators(MODELS):
        if Generators(MODELS).load(name).size == 64:
            yield MODELS, name
            return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / MODEL).symlink_to(MODELS / MODEL)
        torch.manual_seed(0)
        generator = make_generator(64)
        with torch.no_grad():
            generator.latent_avg.copy_(generator.mean_latent())
        save_bundle(generator, root / "random", "# random weights\n")
        yield root, "random"


def inversion_times(bundles: Path, generator: str, batch: int, steps: int) -> list[float]:
    """Return the seconds from the start to each step of a number of simultaneous inversions."""
    settings = ReceiverSettings(bundles=bundles, threads=1, inversion_generator=generator)
    engine = ReceiverEngine(settings)
    pair = read_config(bundles / MODEL).pair_id
    requests = [
        decode_request(codeword, Options(scheme="inverse", snr_db=0.0))
        for codeword in unit_codewords(pair, batch, 64)
    ]
    warm = engine.begin(engine.prepare(requests[0]))  # loads the perceptual network
    engine.advance([warm])
    courses = [engine.begin(engine.prepare(request)) for request in requests]
    began, found = time.perf_counter(), []
    for _ in range(steps):
        engine.advance(courses)
        found.append(time.perf_counter() - began)
    return found


def inversions(rounds: int, *, short: bool) -> dict[str, Any]:
    """Measure time over steps for one image, and over the number of images that share a step."""
    batches, steps = (INVERSIONS[:2], STEPS[:2]) if short else (INVERSIONS, STEPS)
    with bundles_with_generator() as (bundles, name):
        by_steps, by_batch = [], []
        for _ in range(rounds):
            runs = {batch: inversion_times(bundles, name, batch, steps[-1]) for batch in batches}
            by_steps.append([1e3 * runs[1][step - 1] for step in steps])
            by_batch.append([1e3 * run[-1] / steps[-1] for run in runs.values()])
    return {
        "generator": "random weights" if name == "random" else name,
        "channels": list(GENERATORS[64]) if name == "random" else None,
        "steps": {"ms": growth(steps, by_steps)},
        "images at once": {"ms": growth(batches, by_batch)},
    }


def main() -> int:
    arguments = parser("how time and memory grow", "bench_growth.json").parse_args()
    short = arguments.short
    torch.set_num_threads(1)
    rounds, seconds = (1, 0.02) if short else (3, 0.3)
    sides, batches = (SIDES[:2], BATCHES[:3]) if short else (SIDES, BATCHES)
    symbols, counts = (SYMBOLS[:3], REPLICAS[:2]) if short else (SYMBOLS, REPLICAS)
    found: dict[str, Any] = {}
    for role, name in (("transmitter", "encoding"), ("receiver", "decoding")):
        role_: Any = role
        found[f"{name}, side"] = curves(
            sides,
            rounds,
            lambda r=role_: computed(r, [{"batch": 1, "side": n} for n in sides], seconds),  # type: ignore[misc]
        )
        found[f"{name}, batch of 64x64"] = curves(
            batches,
            rounds,
            lambda r=role_: computed(r, [{"batch": n} for n in batches], seconds),  # type: ignore[misc]
        )
        print(name, file=sys.stderr, flush=True)
    found["channel, symbols"] = curves(
        symbols,
        rounds,
        lambda: computed("channel", [{"batch": 1, "symbols": n} for n in symbols], seconds),
    )
    turns = [replicas(counts, 0.5 if short else 4.0) for _ in range(rounds)]
    found["receivers on one machine"] = {
        "images_per_s": growth(counts, [rates for rates, _ in turns]),
        "bytes": growth(counts, [memory for _, memory in turns]),
    }
    print("replicas", file=sys.stderr, flush=True)
    inversion = inversions(rounds, short=short)
    return finish(
        arguments.output,
        short=short,
        criteria=[],
        model=MODEL,
        rounds=rounds,
        replicas_share_cores=os.cpu_count(),
        curves=found,
        inversion=inversion,
    )


if __name__ == "__main__":
    sys.exit(main())
