# SPDX-License-Identifier: Apache-2.0
"""A photograph of 12 megapixels through the services, alone and beside small images.

    python benchmarks/serving/large.py [--short]

* Time, CPU time and peak memory of each service for one image of 4000x3000 pixels.
* Latency of 64x64 images while large ones are computed, over their latency without them.
* In one process: the difference between an image in tiles and the same image at once, at a size at
  which both fit into memory.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import torch

from benchmarks.common.harness import (
    DECODE,
    ENCODE,
    TRANSMIT,
    closed,
    criterion,
    finish,
    grpc_sender,
    measured,
    parser,
    use_of,
)
from genjscc.bundles.store import find_bundles
from genjscc.client.options import Options
from genjscc.client.protocol import (
    decode_request,
    encode_request,
    read_codeword,
    read_transmission,
    transmit_request,
)
from genjscc.launch.processes import LocalService
from genjscc.loadtest.mix import picture
from genjscc.serving.settings import TransmitterSettings
from genjscc.v1 import channel_pb2, transmitter_pb2
from transmitter.encoder import encode, encode_tiles
from transmitter.models import load_encoder

PATHS = {"transmitter": ENCODE, "channel": TRANSMIT, "receiver": DECODE}
PEAK_GIB, DIFFERENCE, SLOWER = 2.0, 1e-4, 8.0
SMALL, CALLERS = 64, 4
_MESSAGES = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has had (Linux)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


async def ask(address: str, path: str, request: Any) -> bytes:
    """Return the answer to one call."""
    async with grpc.aio.insecure_channel(address, options=_MESSAGES) as connection:
        answer: bytes = await connection.unary_unary(path)(request.SerializeToString())
        return answer


def requests_for(addresses: dict[str, str], side: tuple[int, int], model: str) -> dict[str, Any]:
    """Return the request to each service for one image; the first two answer for the next one."""
    options = Options(model=model, snr_db=5.0, seed=0)
    first = encode_request(picture(*side, 0), options)
    encoded = transmitter_pb2.EncodeResponse.FromString(
        asyncio.run(ask(addresses["transmitter"], ENCODE, first))
    )
    second = transmit_request(read_codeword(encoded, options), options)
    transmitted = channel_pb2.TransmitResponse.FromString(
        asyncio.run(ask(addresses["channel"], TRANSMIT, second))
    )
    third = decode_request(read_transmission(transmitted, options), options)
    return {"transmitter": first, "channel": second, "receiver": third}


def one_call(service: LocalService, request: Any) -> dict[str, float]:
    """Measure one large image on a service that has computed only small ones."""
    pid, path = service.process.pid, PATHS[service.role]
    before, cpu = peak_bytes(pid), use_of(pid).cpu_s
    began = time.perf_counter()
    asyncio.run(ask(service.address, path, request))
    return {
        "seconds": time.perf_counter() - began,
        "cpu_s": use_of(pid).cpu_s - cpu,
        "peak_bytes": peak_bytes(pid),
        "peak_bytes_before": before,
    }


async def beside(
    address: str, path: str, small: list[bytes], large: bytes, seconds: float
) -> dict[str, Any]:
    """Measure small images without and with large ones in progress."""
    done = 0

    async def keep_busy() -> None:
        nonlocal done
        async with grpc.aio.insecure_channel(address, options=_MESSAGES) as connection:
            while True:
                await connection.unary_unary(path)(large)
                done += 1

    async with grpc_sender(address, path) as send:
        alone = measured(await closed(send, small, callers=CALLERS, seconds=seconds))
        busy = asyncio.create_task(keep_busy())
        await asyncio.sleep(0.5)  # until its content has arrived
        mixed = measured(await closed(send, small, callers=CALLERS, seconds=seconds))
        busy.cancel()
        with suppress(asyncio.CancelledError):
            await busy
    return {
        "alone": alone,
        "beside_large": mixed,
        "large_done": done,
        "p99_ratio": mixed["p99_ms"] / alone["p99_ms"],
    }


def difference(model: str, side: tuple[int, int]) -> float:
    """Return the largest difference of the symbols in tiles and at once."""
    bundles = TransmitterSettings().bundles
    encoder = load_encoder(bundles, find_bundles(bundles, lambda *_: None)[model])
    images = torch.from_numpy(picture(*side, 1)).permute(2, 0, 1)[None].float() / 255
    snr_db = torch.zeros(1)
    with torch.inference_mode():
        whole, tiles = encode(encoder, images, snr_db), encode_tiles(encoder, images, snr_db)
        while True:
            try:
                next(tiles.work)
            except StopIteration as end:
                return float((end.value - whole).abs().max())


def main() -> int:
    made = parser("large photographs", "bench_serving_large.json")
    made.add_argument("--model", default="natural64", help="any that takes images of all sizes")
    made.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "auto"))
    made.add_argument("--seconds", type=float, default=30.0)
    arguments = made.parse_args()
    short, model = arguments.short, arguments.model
    side, seconds = ((640, 960), 2.0) if short else ((3008, 4000), arguments.seconds)
    networks = ["--dtype", arguments.dtype]
    services = {role: LocalService(role, networks if role != "channel" else []) for role in PATHS}
    try:
        for service in services.values():
            service.wait_ready()
        addresses = {role: service.address for role, service in services.items()}
        small = requests_for(addresses, (SMALL, SMALL), model)
        large: dict[str, Any] = {}
        calls: dict[str, dict[str, float]] = {}
        options = Options(model=model, snr_db=5.0, seed=0)
        large["transmitter"] = encode_request(picture(*side, 0), options)
        calls["transmitter"] = one_call(services["transmitter"], large["transmitter"])
        large |= requests_for(addresses, side, model)
        for role in ("channel", "receiver"):
            asyncio.run(ask(addresses[role], PATHS[role], small[role]))
        calls["receiver"] = one_call(services["receiver"], large["receiver"])
        calls["channel"] = one_call(services["channel"], large["channel"])
        mixed = {
            role: asyncio.run(
                beside(
                    addresses[role],
                    PATHS[role],
                    [small[role].SerializeToString()],
                    large[role].SerializeToString(),
                    seconds,
                )
            )
            for role in ("transmitter", "receiver")
        }
    finally:
        for service in services.values():
            service.terminate()
        for service in services.values():
            service.wait()
    apart = difference(model, (512, 768) if short else (1024, 1024))
    criteria = [
        criterion("largest difference of an image in tiles", apart, DIFFERENCE, at_most=True),
        *(
            criterion(
                f"{role}: peak memory in GiB", one["peak_bytes"] / 2**30, PEAK_GIB, at_most=True
            )
            for role, one in calls.items()
        ),
        *(
            criterion(
                f"{role}: p99 of small images beside large ones over alone",
                one["p99_ratio"],
                SLOWER,
                at_most=True,
            )
            for role, one in mixed.items()
        ),
    ]
    return finish(
        arguments.output,
        short=short,
        criteria=criteria,
        model=model,
        dtype=arguments.dtype,
        side=list(side),
        small_side=SMALL,
        callers=CALLERS,
        calls=calls,
        mixed=mixed,
        largest_difference=apart,
    )


if __name__ == "__main__":
    sys.exit(main())
