# SPDX-License-Identifier: Apache-2.0
"""Effect of each numerical choice, one at a time, against the plain choice in the same run.

    python benchmarks/numerics.py

Plain: float32, PyTorch's default layout, eager, one thread, tensors made anew, in memory that is
kept as services keep it. Each other choice takes turns with it, round by round, on the same images
and network; its speed is the plain time over its own. It pays where the median is at least 1.05
and no round is slower. What the answers lose by it is their error against the plain ones, in dB.
Decoding image files on the event loop and off it is compared in the service's own dispatcher.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import io
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from benchmarks.common.estimates import ratio_spread, spread
from benchmarks.common.harness import finish, parser
from benchmarks.common.in_process import MODEL, RATE, Alone, Computation
from benchmarks.training_throughput import MALLOC
from genjscc.client.options import Options
from genjscc.client.protocol import encode_request
from genjscc.loadtest.mix import picture
from genjscc.pixels import to_unit_range
from genjscc.serving.memory import keep_large_blocks
from genjscc.serving.metrics import Metrics
from genjscc.serving.scheduling.dispatcher import Dispatcher
from genjscc.serving.settings import TransmitterSettings
from transmitter.encoder import encode
from transmitter.service import TransmitterEngine

CASES = ((64, 16), (256, 1))
PAYS = 1.05
IN_PRODUCT = {
    "bf16": "a setting (GENJSCC_DTYPE), off: answers do not depend on the batch (1e-5)",
    "channels_last": "used",
    "bf16 and channels_last": "a setting (GENJSCC_DTYPE), off, as bf16",
    "torch.compile": "not used",
    "torch.compile, bf16 and channels_last": "not used",
    "all cores": "a setting (GENJSCC_THREADS), 1: replicas use cores better than threads",
    "staging made once": "not used",
    "malloc that keeps its memory": "used by services; the documentation proposes it for trainings",
    "image files off the event loop": "used",
}


@dataclass(frozen=True)
class Network:
    """Encoder or decoder of the pair on inputs of one size."""

    module: Any
    role: str
    inputs: list[Tensor]
    side: int

    def __call__(self, module: Any, batch: Tensor) -> Tensor:
        snr_db = torch.full((len(batch),), 5.0)
        if self.role == "transmitter":
            made: Tensor = encode(module, batch, snr_db)
            return made
        images: Tensor = module(batch, snr_db, (self.side, self.side))
        return images

    def staged(self) -> Tensor:
        """Return the batch, created anew."""
        stacked = torch.stack(self.inputs)
        return to_unit_range(stacked) if self.role == "transmitter" else stacked


def network_of(role: Any, side: int, batch: int) -> Network:
    """Build a network with inputs as in the service."""
    computation = Computation(role)
    model = computation.engine.catalogue.by_name(MODEL)
    jobs = computation.jobs(batch, side, 0)
    if role == "transmitter":
        return Network(model.network, role, [job.pixels for job in jobs], side)
    return Network(
        model.network, role, [torch.from_numpy(job.symbols.copy()) for job in jobs], side
    )


def choices(network: Network, *, compiled: bool) -> dict[str, Callable[[], Tensor]]:
    """Return the compared choices by name; `plain` is the first."""
    last = network.module
    plain = copy.deepcopy(last).to(memory_format=torch.contiguous_format)
    is_image = network.role == "transmitter"
    stack = torch.stack(network.inputs)
    ready = torch.empty(stack.shape) if is_image else None

    def run(module: Any, *, bf16: bool = False, layout: bool = False) -> Tensor:
        batch = network.staged()
        if layout and is_image:
            batch = batch.contiguous(memory_format=torch.channels_last)
        precise = torch.autocast("cpu", torch.bfloat16) if bf16 else contextlib.nullcontext()
        with precise:
            return network(module, batch)

    def threaded() -> Tensor:
        torch.set_num_threads(os.cpu_count() or 1)
        try:
            return run(plain)
        finally:
            torch.set_num_threads(1)

    def staged_once() -> Tensor:
        torch.stack(network.inputs, out=stack)
        if ready is None:
            return network(plain, stack)
        torch.div(stack, 255, out=ready)
        return network(plain, ready)

    found: dict[str, Callable[[], Tensor]] = {
        "plain": lambda: run(plain),
        "bf16": lambda: run(plain, bf16=True),
        "channels_last": lambda: run(last, layout=True),
        "bf16 and channels_last": lambda: run(last, bf16=True, layout=True),
        "staging made once": staged_once,
    }
    if compiled:
        quick, quick_last = torch.compile(plain), torch.compile(last)
        found["torch.compile"] = lambda: run(quick)
        found["torch.compile, bf16 and channels_last"] = lambda: run(
            quick_last, bf16=True, layout=True
        )
    # Last: its threads may still spin while the next one begins.
    found["all cores"] = threaded
    return found


def error_db(answer: Tensor, plain: Tensor) -> float | None:
    """Return the error relative to the result in dB; None if there is none."""
    lost = float((answer - plain).abs().square().sum() / plain.abs().square().sum())
    return 10 * torch.log10(torch.tensor(lost)).item() if lost > 0 else None


@torch.inference_mode()
def compare(network: Network, rounds: int, seconds: float, *, compiled: bool) -> dict[str, Any]:
    """Measure all choices in turns."""
    times: dict[str, list[float]] = {}
    found: dict[str, Any] = {}
    able = choices(network, compiled=compiled)
    plain = able["plain"]().clone()
    for name, run in list(able.items()):
        began = time.perf_counter()
        try:
            answer = run()
        except Exception as error:  # noqa: BLE001 (a compiler may fail in many ways)
            found[name] = {"error": (str(error).splitlines() or [type(error).__name__])[0]}
            del able[name]
            continue
        found[name] = {
            "first_s": time.perf_counter() - began,
            "error_db": error_db(answer.float() if answer.is_floating_point() else answer, plain),
        }
    for number in range(rounds + 1):
        for name, run in able.items():
            repeats, began = 0, time.perf_counter()
            while repeats < 2 or time.perf_counter() - began < seconds:
                run()
                repeats += 1
            if number:  # the first round warms up
                times.setdefault(name, []).append((time.perf_counter() - began) / repeats)
    for name, values in times.items():
        found[name] |= {
            "ms": spread([1e3 * one for one in values]),
            **verdict_of(ratio_spread(times["plain"], values)),
        }
    return found


def verdict_of(speed: dict[str, float]) -> dict[str, Any]:
    """Return the speed-up and whether the choice pays."""
    return {"speed": speed, "pays": speed["median"] >= PAYS and speed["min"] >= 1}


def malloc_kept(role: Any, rounds: int, repeat: int) -> dict[str, Any]:
    """Run in this process with glibc set to keep freed memory."""
    with Alone(role) as plain, Alone(role, environment=MALLOC) as keeping:
        times: list[list[float]] = [[], []]
        for number in range(rounds + 1):
            for one, found in zip((plain, keeping), times, strict=True):
                walls = one.ask(batch=16, repeat=repeat)["walls_s"]
                if number:
                    found.append(statistics.fmean(walls))
    return {"ms": spread([1e3 * one for one in times[1]]), **verdict_of(ratio_spread(*times))}


class OnTheLoop(TransmitterEngine):
    """An engine that decodes every image on the event loop."""

    def is_quick(self, request: Any) -> bool:  # noqa: ARG002
        return True


async def files(engine: type[TransmitterEngine], seconds: float) -> tuple[float, float]:
    """Measure images per second of PNG files, and the 99th percentile of the loop's pauses."""
    file = io.BytesIO()
    Image.fromarray(picture(256, 256, 0)).save(file, "PNG")
    request = encode_request(file.getvalue(), Options(rate=RATE))
    settings = TransmitterSettings(default_model=MODEL, threads=1)
    dispatcher: Dispatcher[Any, Any, Any, Any] = Dispatcher(
        lambda: engine(settings), settings, Metrics("transmitter", "benchmark")
    )
    await dispatcher.start()
    late: list[float] = []
    done, until = 0, time.perf_counter() + seconds

    async def call() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await dispatcher.answer(request)
            done += 1

    async def watch() -> None:
        while time.perf_counter() < until:
            due = time.perf_counter() + 0.002
            await asyncio.sleep(0.002)
            late.append(time.perf_counter() - due)

    began = time.perf_counter()
    await asyncio.gather(watch(), *(call() for _ in range(8)))
    rate = done / (time.perf_counter() - began)
    dispatcher.close()
    return rate, statistics.quantiles(late, n=100)[98] * 1e3


def off_the_loop(rounds: int, seconds: float) -> dict[str, Any]:
    """Compare decoding image files off the event loop, as the service does, with decoding on it."""
    rates: list[list[float]] = [[], []]
    lags: list[list[float]] = [[], []]
    for number in range(rounds + 1):
        for engine, rate, lag in zip((TransmitterEngine, OnTheLoop), rates, lags, strict=True):
            found = asyncio.run(files(engine, seconds))
            if number:
                rate.append(found[0])
                lag.append(found[1])
    speed = verdict_of(ratio_spread(rates[0], rates[1]))
    stands = {"off the loop": spread(lags[0]), "on the loop": spread(lags[1])}
    return {"images_per_s": spread(rates[0]), "loop_late_p99_ms": stands, **speed}


def main() -> int:
    arguments = parser("what numerical choices bring", "bench_numerics.json").parse_args()
    short = arguments.short
    rounds, seconds = (1, 0.05) if short else (5, 0.4)
    torch.set_num_threads(1)
    keep_large_blocks()  # as services do; what that brings is measured in processes of its own
    found: dict[str, Any] = {}
    for role in ("transmitter", "receiver"):
        for side, batch in CASES[:1] if short else CASES:
            network = network_of(role, side, batch)
            case = f"{role}, {side}x{side}, batch {batch}"
            found[case] = compare(
                network, rounds, seconds, compiled=not short and (side, batch) == CASES[0]
            )
            print(case, file=sys.stderr, flush=True)
        case = f"{role}, 64x64, batch 16"
        kept = malloc_kept(role, rounds, 2 if short else 20)
        found[case]["malloc that keeps its memory"] = kept
    found["transmitter, 256x256 PNG files"] = {
        "image files off the event loop": off_the_loop(min(rounds, 3), 0.5 if short else 3.0)
    }
    return finish(
        arguments.output,
        short=short,
        criteria=[],
        model=MODEL,
        pays_from=PAYS,
        in_product=IN_PRODUCT,
        cases=found,
    )


if __name__ == "__main__":
    sys.exit(main())
