# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks of the services share: requests, load, the use of processes, results."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from genjscc.cli.origin import origin
from genjscc.client.exchange import decode_request, encode_request, transmit_request
from genjscc.client.options import Options, Transmission
from genjscc.loadtest.mix import picture
from genjscc.loadtest.report import write_json
from genjscc.wire.codewords import Codeword

ENCODE = "/genjscc.v1.TransmitterService/Encode"
TRANSMIT = "/genjscc.v1.ChannelService/Transmit"
DECODE = "/genjscc.v1.ReceiverService/Decode"
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Use:
    """What a process uses."""

    cpu_s: float
    resident_bytes: int
    descriptors: int
    threads: int


def use_of(pid: int) -> Use:
    """Of a process on this machine (Linux)."""
    folder = Path("/proc") / str(pid)
    # After the name, which may hold anything: state is field 3, utime 14, stime 15, threads 20.
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    return Use(
        cpu_s=(int(fields[11]) + int(fields[12])) / _TICKS,
        resident_bytes=int(fields[21]) * _PAGE,
        descriptors=len(list((folder / "fd").iterdir())),
        threads=int(fields[17]),
    )


def image_requests(count: int, rate: str | None = None, side: int = 64) -> list[Any]:
    """EncodeRequests of different pictures."""
    options = Options(rate=rate)
    return [encode_request(picture(side, side, number), options) for number in range(count)]


def channel_request(symbols: int, seed: int = 0) -> Any:
    """A TransmitRequest of so many symbols: 8 bytes each, either way."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(symbols, 2)).astype(np.float32).view(np.complex64)[:, 0]
    codeword = Codeword(values, "benchmark", rate_of(symbols), (64, 64))
    return transmit_request(codeword, Options(snr_db=5.0, seed=seed))


def rate_of(symbols: int) -> Any:
    """The bandwidth ratio of a 64x64 image."""
    from fractions import Fraction

    return Fraction(symbols, 3 * 64 * 64)


def decode_requests(codewords: Sequence[Codeword]) -> list[Any]:
    """DecodeRequests of codewords that met no noise."""
    return [
        decode_request(Transmission(codeword, None, 0, 0, 1.0, float("inf")), Options(snr_db=5.0))
        for codeword in codewords
    ]


@dataclass
class Load:
    """What came back."""

    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)

    @property
    def ok_per_second(self) -> float:
        """Good answers per second."""
        return self.statuses["OK"] / self.seconds


def repeated(payloads: Sequence[bytes], count: int) -> Iterator[bytes]:
    """So many of the payloads, over and over."""
    for number in range(count):
        yield payloads[number % len(payloads)]


async def unary_load(
    address: str, path: str, payloads: Sequence[bytes], *, count: int, in_flight: int
) -> Load:
    """Single calls, a number of them under way at a time. Bytes in and out: a cheap client."""
    load, left = Load(), repeated(payloads, count)
    async with grpc.aio.insecure_channel(address) as connection:
        call = connection.unary_unary(path)
        await connection.channel_ready()

        async def caller() -> None:
            for payload in left:
                try:
                    await call(payload)
                    load.statuses["OK"] += 1
                except grpc.aio.AioRpcError as error:
                    load.statuses[error.code().name] += 1

        started = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(in_flight)))
        load.seconds = time.perf_counter() - started
    return load


async def stream_load(
    address: str, path: str, payloads: Sequence[bytes], *, count: int, streams: int, window: int
) -> Load:
    """Streams that keep a number of messages under way each."""
    load, left = Load(), repeated(payloads, count)
    async with grpc.aio.insecure_channel(address) as connection:
        await connection.channel_ready()

        async def one() -> None:
            free, call = asyncio.Semaphore(window), connection.stream_stream(path)()

            async def write() -> None:
                for payload in left:
                    await free.acquire()
                    await call.write(payload)
                await call.done_writing()

            writing = asyncio.create_task(write())
            async for _ in call:
                load.statuses["OK"] += 1
                free.release()
            await writing

        started = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(streams)))
        load.seconds = time.perf_counter() - started
    return load


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, extremes and number of rounds."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "rounds": len(values),
    }


def criterion(name: str, value: float, limit: float, *, at_most: bool) -> dict[str, Any]:
    """One thing that must hold."""
    met = value <= limit if at_most else value >= limit
    return {"name": name, "value": value, "at_most" if at_most else "at_least": limit, "met": met}


def parser(description: str, result: str) -> argparse.ArgumentParser:
    """With what every benchmark takes."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--output", type=Path, default=Path("results") / result)
    made.add_argument(
        "--short", action="store_true", help="under a minute, to see that it runs: no figures"
    )
    return made


def finish(output: Path, *, short: bool, criteria: list[dict[str, Any]], **found: Any) -> int:
    """Writes and prints the result; the exit code tells whether all criteria are met."""
    command = shlex.join(["python", *sys.argv])
    content = {
        "format": 1,
        **(origin() | {"command": command}),
        "short": short,
        "cores": os.cpu_count(),
        "criteria": criteria,
        **found,
    }
    write_json(output, content)
    for one in criteria:
        limit = one.get("at_most", one.get("at_least"))
        sign = "<=" if "at_most" in one else ">="
        verdict = "met   " if one["met"] else "MISSED"
        print(f"{verdict} {one['name']}: {one['value']:.4g} {sign} {limit:g}")
    print(f"written: {output}")
    return 0 if short or all(one["met"] for one in criteria) else 1
