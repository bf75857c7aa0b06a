# SPDX-License-Identifier: Apache-2.0
"""Shared parts of the benchmarks: requests, load, resource usage, results."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np

from benchmarks.common.schema import BenchFile
from genjscc.cli.provenance import origin
from genjscc.client.options import Options, Transmission
from genjscc.client.protocol import decode_request, encode_request, transmit_request
from genjscc.errors import UnavailableError
from genjscc.loadtest.loops import Extent, Send, arrivals, closed_loop, open_loop
from genjscc.loadtest.mix import Shot, picture
from genjscc.loadtest.recorder import Recorder
from genjscc.loadtest.report import write_json
from genjscc.wire.codewords import Codeword

ENCODE = "/genjscc.v1.TransmitterService/Encode"
TRANSMIT = "/genjscc.v1.ChannelService/Transmit"
DECODE = "/genjscc.v1.ReceiverService/Decode"
SHORT = Path(tempfile.gettempdir(), "genjscc-bench")
"""Where the results of short runs go, which are no figures."""
STARTED = time.monotonic()
MADE_BY = origin()
_MESSAGES = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Use:
    """Resource usage of a process."""

    cpu_s: float
    resident_bytes: int
    descriptors: int
    threads: int


def use_of(pid: int) -> Use:
    """Return the resource usage of a process on this machine (Linux)."""
    folder = Path("/proc") / str(pid)
    # After the name, which may hold anything: state is field 3, utime 14, stime 15, threads 20.
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    return Use(
        cpu_s=(int(fields[11]) + int(fields[12])) / _TICKS,
        resident_bytes=int(fields[21]) * _PAGE,
        descriptors=len(list((folder / "fd").iterdir())),
        threads=int(fields[17]),
    )


def family_of(pid: int) -> list[int]:
    """Return a process and all its descendants (Linux)."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            continue
        parents.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found.extend(parents.get(one, ()))
    return found


def cpu_of_family(pid: int) -> float:
    """Return the CPU seconds of a process and its descendants."""
    total = 0.0
    for one in family_of(pid):
        try:
            total += use_of(one).cpu_s
        except OSError:
            continue
    return total


def memory_of_family(pid: int) -> int:
    """Return the bytes of a process and its descendants; shared pages are divided (PSS)."""
    total = 0
    for one in family_of(pid):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def image_requests(count: int, rate: str | None = None, side: int = 64) -> list[Any]:
    """Return EncodeRequests of different pictures."""
    options = Options(rate=rate)
    return [encode_request(picture(side, side, number), options) for number in range(count)]


def channel_request(symbols: int, seed: int = 0) -> Any:
    """Return a TransmitRequest of k symbols, of 8 bytes each in both directions."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(symbols, 2)).astype(np.float32).view(np.complex64)[:, 0]
    codeword = Codeword(values, "benchmark", rate_of(symbols), (64, 64))
    return transmit_request(codeword, Options(snr_db=5.0, seed=seed))


def rate_of(symbols: int) -> Any:
    """Return the bandwidth ratio of a 64x64 image."""
    from fractions import Fraction

    return Fraction(symbols, 3 * 64 * 64)


def decode_requests(codewords: Sequence[Codeword]) -> list[Any]:
    """Return DecodeRequests of codewords without noise."""
    return [
        decode_request(Transmission(codeword, None, 0, 0, 1.0, float("inf")), Options(snr_db=5.0))
        for codeword in codewords
    ]


@dataclass
class Load:
    """Result of a load."""

    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)

    @property
    def ok_per_second(self) -> float:
        """Successful answers per second."""
        return self.statuses["OK"] / self.seconds


def repeated(payloads: Sequence[bytes], count: int) -> Iterator[bytes]:
    """Repeat the payloads up to a number of messages."""
    for number in range(count):
        yield payloads[number % len(payloads)]


async def unary_load(
    address: str, path: str, payloads: Sequence[bytes], *, count: int, in_flight: int
) -> Load:
    """Send single calls with a number of them in flight; bytes in and out keep the client cheap."""
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
    """Send messages on streams, each with a number of messages in flight."""
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


class Payloads:
    """Source of ready-made payloads for the loops of `genjscc loadtest`."""

    def __init__(self, payloads: Sequence[bytes]) -> None:
        self._payloads, self._number = payloads, -1

    def draw(self) -> Shot:
        self._number += 1
        return Shot(self._payloads[self._number % len(self._payloads)], "payload", {})


ANSWERED = SimpleNamespace(seconds={})
"""What the loops look at in an answer: times of hops, of which there are none."""


@asynccontextmanager
async def grpc_sender(
    address: str, path: str, metadata: Sequence[tuple[str, str]] = ()
) -> AsyncIterator[Send]:
    """Return a function that sends payloads as single calls over one connection."""
    async with grpc.aio.insecure_channel(address, options=_MESSAGES) as connection:
        call = connection.unary_unary(path)
        await connection.channel_ready()

        async def send(shot: Shot) -> Any:
            try:
                await call(shot.image, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                raise UnavailableError(f"{error.code().name}: {error.details()}") from error
            return ANSWERED

        yield send


async def closed(
    send: Send, payloads: Sequence[bytes], *, callers: int, seconds: float
) -> Recorder:
    """Run a closed loop with a number of callers, after a short warm-up."""
    mix: Any = Payloads(payloads)
    warm_up = Extent(seconds=min(0.5, seconds / 4))
    await closed_loop(send, mix, Recorder(), callers=callers, extent=warm_up)
    recorder = Recorder()
    await closed_loop(send, mix, recorder, callers=callers, extent=Extent(seconds=seconds))
    return recorder


async def opened(
    send: Send, payloads: Sequence[bytes], *, per_second: float, seconds: float, seed: int = 0
) -> Recorder:
    """Run an open loop: requests at random times, regardless of answers."""
    recorder, mix = Recorder(), Payloads(payloads)
    moments = arrivals(per_second, "poisson", random.Random(seed))  # noqa: S311
    await open_loop(send, mix, recorder, moments=moments, extent=Extent(seconds=seconds))  # type: ignore[arg-type]
    return recorder


def measured(recorder: Recorder) -> dict[str, float]:
    """Return answers per second and latencies of a finished loop.

    Raises:
        SystemExit: nothing was answered, or not all.
    """
    seconds = recorder.elapsed_s
    if not recorder.statuses:
        raise SystemExit(f"nothing was answered within {seconds:.1f} s")
    if set(recorder.statuses) != {"OK"}:
        raise SystemExit(f"not all was answered: {dict(recorder.statuses)}")
    found = recorder.ok.summary()
    return {
        "per_second": recorder.statuses["OK"] / seconds,
        "p50_ms": found["p50"],
        "p99_ms": found["p99"],
        "answers": recorder.statuses["OK"],
    }


def criterion(
    name: str, value: float | None, limit: float, *, at_most: bool, note: str = ""
) -> dict[str, Any]:
    """Compare a value with its limit; a missing value does not meet it."""
    value = None if value is None else float(f"{value:.6g}")  # as the file will have it
    met = value is not None and (value <= limit if at_most else value >= limit)
    limits = {"at_most" if at_most else "at_least": limit}
    return {"name": name, "value": value, **limits, "met": met, "note": note}


def parser(description: str, result: str) -> argparse.ArgumentParser:
    """Return an argument parser with the common options of all benchmarks."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--output", type=Path, default=Path("results") / result)
    made.add_argument(
        "--short", action="store_true", help="under a minute, to see that it runs: no figures"
    )
    return made


def verdict(one: dict[str, Any]) -> str:
    """Format a criterion as a line."""
    word = "met    " if one["met"] else "NOT MET"
    value = "not measured" if one.get("value") is None else f"{one['value']:.4g}"
    sign, limit = ("<=", one["at_most"]) if "at_most" in one else (">=", one["at_least"])
    note = f" ({one['note']})" if one.get("note") else ""
    return f"{word} {one['name']}: {value} {sign} {limit:g}{note}"


def finish(output: Path, *, short: bool, criteria: list[dict[str, Any]], **found: Any) -> int:
    """Write and print the result; return the exit code, which is 0 if all criteria are met."""
    command = shlex.join(["python", *sys.argv])
    if short and output.parent == Path("results"):
        output = SHORT / output.name
    content = {
        "format": 1,
        **(MADE_BY | {"command": command}),
        "short": short,
        "cores": os.cpu_count(),
        "seconds": time.monotonic() - STARTED,
        "criteria": criteria,
        **found,
    }
    BenchFile.model_validate(content)
    write_json(output, content)
    for one in criteria:
        print(verdict(one))
    print(f"written: {output}")
    return 0 if short or all(one["met"] for one in criteria) else 1
