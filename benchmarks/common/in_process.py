# SPDX-License-Identifier: Apache-2.0
"""In-process reference: the services' computation without a service.

A process of its own loads the same bundles as a service and runs the same batches through the
same function, on one thread; nothing is checked, queued, sent or written.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from benchmarks.common.harness import channel_request, decode_requests, image_requests
from genjscc.serving.settings import ChannelSettings, ReceiverSettings, TransmitterSettings
from genjscc.wire.codewords import Codeword

Role = Literal["transmitter", "channel", "receiver"]
MODEL, RATE = "faces64", "1/48"
SYMBOLS = 1024


def unit_codewords(pair_id: str, count: int, side: int) -> list[Codeword]:
    """Draw random symbols of power 1 for images of a side, at `RATE`; enough for timing."""
    rng, ratio = np.random.default_rng(0), Fraction(RATE)
    k = int(3 * side * side * ratio)
    return [
        Codeword(
            rng.normal(0, 0.5**0.5, (k, 2)).astype(np.float32).view(np.complex64)[:, 0],
            pair_id,
            ratio,
            (side, side),
        )
        for _ in range(count)
    ]


def make_engine(role: Role, dtype: str, threads: int) -> Any:
    """Build an engine as the service does."""
    if role == "channel":
        from channel.service import ChannelEngine

        return ChannelEngine(ChannelSettings())
    settings: dict[str, Any] = {"default_model": MODEL, "threads": threads, "dtype": dtype}
    if role == "transmitter":
        from transmitter.service import TransmitterEngine

        transmitter = TransmitterEngine(TransmitterSettings(**settings))
        transmitter.warm_up()
        return transmitter
    from receiver.service import ReceiverEngine

    receiver = ReceiverEngine(ReceiverSettings(**settings))
    receiver.warm_up()
    return receiver


def requests_of(
    role: Role, engine: Any, count: int, side: int, symbols: int = SYMBOLS
) -> list[Any]:
    """Return requests as clients send them; the receiver answers with raw pixels."""
    if role == "channel":
        return [channel_request(symbols, seed) for seed in range(count)]
    if role == "transmitter":
        return image_requests(count, RATE, side)
    return decode_requests(
        unit_codewords(engine.catalogue.by_name(MODEL).config.pair_id, count, side)
    )


class Computation:
    """An engine and jobs for it, in this process."""

    def __init__(self, role: Role, dtype: str = "float32", threads: int = 1) -> None:
        self.role, self.engine = role, make_engine(role, dtype, threads)
        self._jobs: dict[tuple[int, int], list[Any]] = {}

    def jobs(self, count: int, side: int, symbols: int) -> list[Any]:
        """Prepare a number of requests."""
        known = self._jobs.setdefault((side, symbols), [])
        if len(known) < count:
            requests = requests_of(self.role, self.engine, count, side, symbols)
            known[:] = [self.engine.prepare(request) for request in requests]
        return known[:count]

    def run(
        self, batch: int, side: int = 64, repeat: int = 1, symbols: int = SYMBOLS
    ) -> dict[str, Any]:
        """Run batches one after another; return wall times, CPU seconds and memory so far."""
        jobs = self.jobs(batch, side, symbols)
        walls, cpu = [], time.process_time()
        for _ in range(repeat):
            started = time.perf_counter()
            self.engine.run(jobs)
            walls.append(time.perf_counter() - started)
        return {
            "walls_s": walls,
            "cpu_s": time.process_time() - cpu,
            "images": batch * repeat,
            "peak_bytes": peak_bytes(),
        }


def peak_bytes() -> int:
    """Return the peak memory of this process (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


class Alone:
    """A `Computation` in its own process.

    Attributes:
        pid: of the process.
        started_s: from its start until it had loaded and computed something.
    """

    def __init__(
        self,
        role: Role,
        dtype: str = "float32",
        threads: int = 1,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        command = [sys.executable, __file__, role, dtype, str(threads)]
        began = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.pid = self._process.pid
        self.ask(batch=1)
        self.started_s = time.perf_counter() - began

    def ask(self, **task: Any) -> dict[str, Any]:
        """Return the result of `Computation.run`."""
        pipes = self._process.stdin, self._process.stdout
        assert pipes[0] is not None  # noqa: S101 (both are pipes)
        assert pipes[1] is not None  # noqa: S101
        pipes[0].write(json.dumps(task) + "\n")
        pipes[0].flush()
        line = pipes[1].readline()
        if not line:
            raise SystemExit("the process that computes alone has ended")
        found: dict[str, Any] = json.loads(line)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # closes its standard input, which ends it


def main() -> None:
    parser = argparse.ArgumentParser(description="computes what standard input asks for")
    parser.add_argument("role", choices=("transmitter", "channel", "receiver"))
    parser.add_argument("dtype", choices=("float32", "bfloat16"))
    parser.add_argument("threads", type=int)
    arguments = parser.parse_args()
    computation = Computation(arguments.role, arguments.dtype, arguments.threads)
    for line in sys.stdin:
        print(json.dumps(computation.run(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
