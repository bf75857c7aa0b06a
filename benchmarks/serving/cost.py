# SPDX-License-Identifier: Apache-2.0
"""CPU time per image of a saturated service, relative to the same batches in one process.

    python benchmarks/serving/cost.py

Both compute batches of 16 images of 64x64 pixels with the network of `faces64` on one thread. The
service gets them as messages, single calls and streams; CPU time is that of its whole process,
gRPC's threads included. Rounds of both take turns.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from benchmarks.common.estimates import spread
from benchmarks.common.harness import (
    DECODE,
    ENCODE,
    criterion,
    decode_requests,
    finish,
    image_requests,
    parser,
    stream_load,
    unary_load,
    use_of,
)
from genjscc.launch.processes import LocalService
from genjscc.limits import Limits
from genjscc.serving.engine import answer
from genjscc.serving.memory import keep_large_blocks
from genjscc.serving.settings import ReceiverSettings, TransmitterSettings
from genjscc.v1 import receiver_pb2, transmitter_pb2
from genjscc.wire.codewords import codeword_from_message
from receiver.service import ReceiverEngine
from transmitter.service import TransmitterEngine

MODEL, RATE, BATCH = "faces64", "1/48", 16
LIMIT = 1.15
STREAM_ITEMS = {
    ENCODE: transmitter_pb2.EncodeStreamRequest,
    DECODE: receiver_pb2.DecodeStreamRequest,
}


def model_cpu_s(engine: Any, jobs: list[Any], images: int) -> float:
    """Measure CPU seconds per image of the batched network in this process."""
    started = time.process_time()
    for start in range(0, images, BATCH):
        engine.run([jobs[(start + i) % len(jobs)] for i in range(BATCH)])
    return (time.process_time() - started) / (images // BATCH * BATCH)


def service_cpu_s(pid: int, images: int, load: Any) -> float:
    """Measure CPU seconds per image of a service's process under a load."""
    before = use_of(pid).cpu_s
    done = asyncio.run(load)
    if done.statuses != {"OK": images}:
        raise SystemExit(f"not all was answered: {dict(done.statuses)}")
    return (use_of(pid).cpu_s - before) / images


def measure(
    role: str, engine: Any, path: str, requests: list[Any], rounds: int, images: int
) -> Any:
    """Measure the ratios of one service."""
    jobs = [engine.prepare(request) for request in requests]
    single = [request.SerializeToString() for request in requests]
    item = STREAM_ITEMS[path]
    items = [item(item_id=1, request=request).SerializeToString() for request in requests]
    service = LocalService(role, ["--max-batch", str(BATCH), "--threads", "1"])
    service.wait_ready()
    pid, address = service.process.pid, service.address
    found: dict[str, list[float]] = {"model_ms": [], "calls_ms": [], "stream_ms": []}
    try:
        for number in range(rounds + 1):
            alone = model_cpu_s(engine, jobs, images)
            calls = service_cpu_s(
                pid, images, unary_load(address, path, single, count=images, in_flight=64)
            )
            streamed = service_cpu_s(
                pid,
                images,
                stream_load(address, f"{path}Stream", items, count=images, streams=2, window=48),
            )
            if number:  # the first round warms up
                for key, value in zip(found, (alone, calls, streamed), strict=True):
                    found[key].append(value * 1e3)
    finally:
        service.terminate()
        service.wait()
    ratios = {
        kind: spread([s / m for s, m in zip(found[f"{kind}_ms"], found["model_ms"], strict=True)])
        for kind in ("calls", "stream")
    }
    return {"cpu_ms_per_image": {k: spread(v) for k, v in found.items()}, "ratio": ratios}


def main() -> int:
    arguments = parser("CPU time of saturated services", "bench_serving_cost.json").parse_args()
    rounds, images = (1, 64) if arguments.short else (7, 1600)
    transmitter = TransmitterEngine(TransmitterSettings(default_model=MODEL, threads=1))
    receiver = ReceiverEngine(ReceiverSettings(default_model=MODEL, threads=1))
    keep_large_blocks()  # as services do: both sides compute the same graphs
    transmitter.warm_up()
    receiver.warm_up()
    pictures = image_requests(32, RATE)
    codewords = [
        codeword_from_message(answer(transmitter, request).codeword, limits=Limits())
        for request in pictures
    ]
    found = {
        "transmitter": measure("transmitter", transmitter, ENCODE, pictures, rounds, images),
        "receiver": measure(
            "receiver", receiver, DECODE, decode_requests(codewords), rounds, images
        ),
    }
    criteria = [
        criterion(
            f"{role}, {kind}: CPU per image over the model's", value["median"], LIMIT, at_most=True
        )
        for role, one in found.items()
        for kind, value in one["ratio"].items()
    ]
    return finish(
        arguments.output,
        short=arguments.short,
        criteria=criteria,
        model=MODEL,
        bandwidth_ratio=RATE,
        batch=BATCH,
        images_per_round=images,
        services=found,
    )


if __name__ == "__main__":
    sys.exit(main())
