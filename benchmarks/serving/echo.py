# SPDX-License-Identifier: Apache-2.0
"""Messages per second of the channel service, relative to a bare gRPC echo.

    python benchmarks/serving/echo.py

Codewords of 8 KiB (1024 symbols). The echo is the least that a Python gRPC service can be: an
asyncio server that returns the bytes it got, without reading them. Both are asked by the same
client, with single calls and with a stream, in rounds that take turns.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from benchmarks.common.echo_servers import EchoServer
from benchmarks.common.estimates import spread
from benchmarks.common.harness import (
    TRANSMIT,
    channel_request,
    criterion,
    finish,
    parser,
    stream_load,
    unary_load,
    use_of,
)
from genjscc.launch.processes import LocalService
from genjscc.v1 import channel_pb2

SYMBOLS, IN_FLIGHT, WINDOW = 1024, 32, 64
LIMIT = 0.7


def rates(address: str, pid: int, single: Any, items: Any, count: int) -> dict[str, float]:
    """Measure messages per second, and the server's CPU time for each message."""
    found: dict[str, float] = {}
    loads = {
        "calls": lambda: unary_load(address, TRANSMIT, single, count=count, in_flight=IN_FLIGHT),
        "stream": lambda: stream_load(
            address, f"{TRANSMIT}Stream", items, count=count, streams=1, window=WINDOW
        ),
    }
    for kind, make in loads.items():
        before = use_of(pid).cpu_s
        load = asyncio.run(make())
        if load.statuses != {"OK": count}:
            raise SystemExit(f"not all was answered: {dict(load.statuses)}")
        found[kind] = load.ok_per_second
        found[f"{kind}_cpu_us"] = (use_of(pid).cpu_s - before) / count * 1e6
    return found


def main() -> int:
    arguments = parser("the channel against an echo", "bench_serving_echo.json").parse_args()
    rounds, count = (1, 1000) if arguments.short else (9, 10_000)
    requests = [channel_request(SYMBOLS, seed) for seed in range(32)]
    single = [request.SerializeToString() for request in requests]
    items = [
        channel_pb2.TransmitStreamRequest(item_id=1, request=request).SerializeToString()
        for request in requests
    ]
    found: dict[str, list[dict[str, float]]] = {"echo": [], "channel": []}
    channel = LocalService("channel")
    with EchoServer("grpc") as echo:
        try:
            channel.wait_ready()
            for number in range(rounds + 1):
                bare = rates(echo.address, echo.pid, single, items, count)
                ours = rates(channel.address, channel.process.pid, single, items, count)
                if number:  # the first round warms up
                    found["echo"].append(bare)
                    found["channel"].append(ours)
        finally:
            channel.terminate()
            channel.wait()
    ratios = {
        kind: spread(
            [o[kind] / b[kind] for o, b in zip(found["channel"], found["echo"], strict=True)]
        )
        for kind in ("calls", "stream")
    }
    criteria = [
        criterion(f"{kind}: channel's rate over the echo's", one["median"], LIMIT, at_most=False)
        for kind, one in ratios.items()
    ]
    per_second = {
        name: {key: spread([one[key] for one in all_]) for key in all_[0]}
        for name, all_ in found.items()
    }
    return finish(
        arguments.output,
        short=arguments.short,
        criteria=criteria,
        bytes=SYMBOLS * 8,
        messages_per_round=count,
        ratio=ratios,
        per_second=per_second,
    )


if __name__ == "__main__":
    sys.exit(main())
