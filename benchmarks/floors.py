# SPDX-License-Identifier: Apache-2.0
"""Ratios of the services to their lower bounds, measured in one run.

    python benchmarks/floors.py

The floors are the same batches without a service (`in_process`), a bare gRPC echo and a TCP echo of
the same messages (`echo_servers.py`). Latency with one call in flight, throughput at saturation,
CPU seconds per image (the whole process, gRPC's threads included), memory of a replica (PSS),
start-up until the first answer. Services and floors take turns, round by round; each ratio is
made within a round. Networks compute on one thread, and keep memory as the services do; the client
has the rest of the machine. Where that is one core, it also takes from the service's share of
caches and memory: the network alone is measured a second time beside a client that talks to the
gRPC echo.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, ExitStack
from typing import Any

from benchmarks.common.echo_servers import EchoServer, tcp_sender
from benchmarks.common.estimates import ratio_spread, spread
from benchmarks.common.harness import (
    DECODE,
    ENCODE,
    TRANSMIT,
    closed,
    cpu_of_family,
    criterion,
    finish,
    grpc_sender,
    measured,
    memory_of_family,
    parser,
    stream_load,
)
from benchmarks.common.in_process import MODEL, RATE, Alone, Role, make_engine, requests_of
from benchmarks.serving.cost import STREAM_ITEMS, service_cpu_s
from benchmarks.training_throughput import MALLOC
from genjscc.launch.processes import LocalService
from genjscc.loadtest.loops import Send
from genjscc.v1 import channel_pb2

PATHS: dict[Role, str] = {"transmitter": ENCODE, "channel": TRANSMIT, "receiver": DECODE}
ITEMS = {**STREAM_ITEMS, TRANSMIT: channel_pb2.TransmitStreamRequest}
MAX_BATCH, CALLERS = 16, 48
BATCHES = (1, 4, 8, 16, 32)
LIMIT = 0.9
Found = dict[str, float]


def computed(alone: Alone, batch: int, seconds: float) -> Found:
    """Run batches one after another for about a time; return images per second, latency and CPU
    time.
    """
    once = statistics.median(alone.ask(batch=batch, repeat=2)["walls_s"])
    done = alone.ask(batch=batch, repeat=max(3, round(seconds / once)))
    return {
        "p50_ms": statistics.median(done["walls_s"]) * 1e3,
        "per_second": done["images"] / sum(done["walls_s"]),
        "cpu_ms": done["cpu_s"] / done["images"] * 1e3,
    }


def best_batch(alone: Alone, seconds: float) -> int:
    """Return the tried batch size with the most images per CPU second."""
    return min(BATCHES, key=lambda batch: computed(alone, batch, seconds)["cpu_ms"])


def computed_beside(alone: Alone, batch: int, seconds: float, load: Callable[[], Any]) -> Found:
    """Measure as `computed`, while a client keeps the other cores busy."""
    with ThreadPoolExecutor(1) as pool:
        computing = pool.submit(computed, alone, batch, seconds)
        while not computing.done():
            load()
        return computing.result()


async def one_caller(sender: AbstractAsyncContextManager[Send], payloads: list[bytes]) -> None:
    """Run a short load with one call in flight."""
    async with sender as send:
        await closed(send, payloads, callers=1, seconds=0.2)


async def served(
    sender: AbstractAsyncContextManager[Send], pid: int, payloads: list[bytes], seconds: float
) -> Found:
    """Measure a service with one call in flight, then at saturation."""
    async with sender as send:
        single = measured(await closed(send, payloads, callers=1, seconds=seconds))
        before = cpu_of_family(pid)
        recorder = await closed(send, payloads, callers=CALLERS, seconds=seconds)
        used = cpu_of_family(pid) - before
    full = measured(recorder)
    # The warm-up's calls are in the CPU time too, and as many per second.
    calls = full["answers"] * (1 + min(0.5, seconds / 4) / seconds)
    return {
        "p50_ms": single["p50_ms"],
        "p99_ms": single["p99_ms"],
        "per_second": full["per_second"],
        "cpu_ms": used / calls * 1e3,
    }


def one_role(role: Role, rounds: int, seconds: float) -> dict[str, Any]:
    """Measure a service and its lower bounds in turns."""
    path = PATHS[role]
    requests = requests_of(role, make_engine(role, "float32", 1), 32, 64)
    single = [request.SerializeToString() for request in requests]
    item = ITEMS[path]
    items = [item(item_id=1, request=request).SerializeToString() for request in requests]
    found: dict[str, list[Found]] = {}

    def note(name: str, values: Found) -> None:
        found.setdefault(name, []).append(values)

    with ExitStack() as stack:
        alones = {"fp32": stack.enter_context(Alone(role, environment=MALLOC))}
        if role != "channel":
            alones["bf16"] = stack.enter_context(Alone(role, "bfloat16", environment=MALLOC))
        echoes = {kind: stack.enter_context(EchoServer(kind)) for kind in ("grpc", "tcp")}  # type: ignore[arg-type]
        service, started_s = start(role)
        stack.callback(lambda: (service.terminate(), service.wait()))
        pid = service.process.pid
        best = {name: best_batch(alone, seconds / 8) for name, alone in alones.items()}
        for number in range(rounds + 1):
            turn: dict[str, Found] = {}
            for name, alone in alones.items():
                turn[f"alone_{name}"] = computed(alone, best[name], seconds)
                turn[f"alone_{name}"]["p50_ms"] = computed(alone, 1, seconds / 4)["p50_ms"]
            for kind, echo in echoes.items():
                sender: Callable[[], AbstractAsyncContextManager[Send]] = (
                    (lambda at=echo.address: grpc_sender(at, path))  # type: ignore[misc]
                    if kind == "grpc"
                    else (lambda at=echo.address: tcp_sender(at, CALLERS))  # type: ignore[misc]
                )
                turn[f"echo_{kind}"] = asyncio.run(served(sender(), echo.pid, single, seconds / 2))
            if role != "channel":
                turn["alone_beside"] = computed_beside(
                    alones["fp32"],
                    best["fp32"],
                    seconds,
                    lambda: asyncio.run(
                        one_caller(grpc_sender(echoes["grpc"].address, path), single)
                    ),
                )
            ours = grpc_sender(service.address, path)
            turn["service"] = asyncio.run(served(ours, pid, single, seconds))
            images = max(64, round(turn["service"]["per_second"] * seconds))
            streamed = stream_load(
                service.address, f"{path}Stream", items, count=images, streams=2, window=48
            )
            turn["service"]["stream_cpu_ms"] = service_cpu_s(pid, images, streamed) * 1e3
            if number:  # the first round warms up
                for name, values in turn.items():
                    note(name, values)
        memory = {
            "service": memory_of_family(pid),
            **{f"alone_{name}": memory_of_family(one.pid) for name, one in alones.items()},
            **{f"echo_{kind}": memory_of_family(one.pid) for kind, one in echoes.items()},
        }
        starts = {
            "service": started_s,
            **{f"alone_{name}": one.started_s for name, one in alones.items()},
            **{f"echo_{kind}": one.started_s for kind, one in echoes.items()},
        }
    starts_again = again(role, rounds)
    return {
        "best_batch": best,
        "message_bytes": statistics.fmean(map(len, single)),
        "values": {
            name: {key: spread([one[key] for one in all_]) for key in all_[0]}
            for name, all_ in found.items()
        },
        "memory_bytes": memory,
        "start_s": starts,
        "ratios": ratios(found) | memory_ratios(memory) | {"start over alone": starts_again},
    }


def start(role: Role) -> tuple[LocalService, float]:
    """Start a service and measure the time until it is ready."""
    began = time.perf_counter()
    flags = ["--max-batch", str(MAX_BATCH)]
    if role != "channel":
        flags += ["--threads", "1", "--default-model", MODEL]
    service = LocalService(role, flags)
    service.wait_ready()
    return service, time.perf_counter() - began


def again(role: Role, rounds: int) -> dict[str, float]:
    """Compare start-up of the service with that of the in-process reference, in turns."""
    ours, theirs = [], []
    for _ in range(rounds):
        service, seconds = start(role)
        service.terminate()
        service.wait()
        ours.append(seconds)
        with Alone(role) as alone:
            theirs.append(alone.started_s)
    return ratio_spread(ours, theirs)


def ratios(found: dict[str, list[Found]]) -> dict[str, dict[str, float]]:
    """Return the ratios of the service to its lower bounds."""

    def column(name: str, key: str) -> list[float]:
        return [one[key] for one in found[name]]

    service, alone = "service", "alone_fp32"
    sums = [
        a + b for a, b in zip(column(alone, "p50_ms"), column("echo_grpc", "p50_ms"), strict=True)
    ]
    made = {
        "latency over alone": ratio_spread(column(service, "p50_ms"), column(alone, "p50_ms")),
        "latency over alone and a gRPC echo": ratio_spread(column(service, "p50_ms"), sums),
        "throughput over alone": ratio_spread(
            column(service, "per_second"), column(alone, "per_second")
        ),
        "calls: alone's CPU time per image over ours": ratio_spread(
            column(alone, "cpu_ms"), column(service, "cpu_ms")
        ),
        "streams: alone's CPU time per image over ours": ratio_spread(
            column(alone, "cpu_ms"), column(service, "stream_cpu_ms")
        ),
    }
    if "alone_beside" in found:
        for calls, key in (("calls", "cpu_ms"), ("streams", "stream_cpu_ms")):
            made[f"{calls}: CPU time per image of alone beside a client over ours"] = ratio_spread(
                column("alone_beside", "cpu_ms"), column(service, key)
            )
    for kind in ("grpc", "tcp"):
        echo = f"echo_{kind}"
        made |= {
            f"latency over a {kind} echo": ratio_spread(
                column(service, "p50_ms"), column(echo, "p50_ms")
            ),
            f"throughput over a {kind} echo": ratio_spread(
                column(service, "per_second"), column(echo, "per_second")
            ),
            f"CPU time per image over a {kind} echo's": ratio_spread(
                column(service, "cpu_ms"), column(echo, "cpu_ms")
            ),
        }
    if "alone_bf16" in found:
        made["alone: throughput of bf16 over fp32"] = ratio_spread(
            column("alone_bf16", "per_second"), column(alone, "per_second")
        )
    return made


def memory_ratios(memory: dict[str, int]) -> dict[str, dict[str, float]]:
    """Return the ratios of memory, one value each, because memory does not vary between rounds."""
    service = memory["service"]
    return {
        f"memory over {floor.replace('_', ' ')}": spread([service / memory[floor]])
        for floor in ("alone_fp32", "echo_grpc")
    }


def main() -> int:
    arguments = parser("services against their floors", "bench_floors.json").parse_args()
    rounds, seconds = (1, 0.8) if arguments.short else (3, 3.0)
    found = {role: one_role(role, rounds, seconds) for role in PATHS}
    criteria = [
        criterion(
            f"{role}: images per CPU second at saturation over the model's alone, {kind}",
            found[role]["ratios"][f"{kind}: alone's CPU time per image over ours"]["median"],
            LIMIT,
            at_most=False,
        )
        for role in ("transmitter", "receiver")
        for kind in ("calls", "streams")
    ]
    return finish(
        arguments.output,
        short=arguments.short,
        criteria=criteria,
        model=MODEL,
        bandwidth_ratio=RATE,
        side=64,
        callers=CALLERS,
        max_batch=MAX_BATCH,
        rounds=rounds,
        services=found,
    )


if __name__ == "__main__":
    sys.exit(main())
