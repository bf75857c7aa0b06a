# SPDX-License-Identifier: Apache-2.0
"""Real service processes on free loopback ports."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

REPOSITORY = Path(__file__).resolve().parents[2]
START_S, STOP_S = 300.0, 120.0
OPTIONS = [
    ("grpc.max_receive_message_length", 128 * 1024 * 1024),
    ("grpc.max_send_message_length", 128 * 1024 * 1024),
]


class ServiceProcess:
    """The process `python -m ROLE --port 0 ...`, ready once constructed or, later, waited for."""

    def __init__(self, role: str, *flags: str, log: Path, wait: bool = True) -> None:
        self.role, self.log = role, log
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GENJSCC_")}
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", role, "--port", "0", *flags],
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=REPOSITORY,
                env=environment | {"OMP_NUM_THREADS": "1"},
            )
        self.address = self.metrics_url = ""
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until the service announces itself."""
        ready = json.loads(self._first_line())
        assert ready["role"] == self.role
        self.address = ready["address"]
        self.metrics_url = ready.get("metrics", "")

    def _first_line(self) -> bytes:
        assert self.process.stdout is not None
        until = time.monotonic() + START_S
        while time.monotonic() < until and self.process.poll() is None:
            if select.select([self.process.stdout], [], [], 0.1)[0]:
                line = self.process.stdout.readline()
                if line:
                    return line
        self.kill()
        raise AssertionError(f"{self.role} did not become ready:\n{self.log.read_text()}")

    def terminate(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        try:
            return self.process.wait(STOP_S)
        finally:
            self.kill()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(STOP_S)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def entries(self) -> list[dict[str, Any]]:
        """Return the log so far, without a line that is being written."""
        lines = self.log.read_text().rpartition("\n")[0].splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def connect(self) -> grpc.Channel:
        return grpc.insecure_channel(self.address, options=OPTIONS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


@dataclass(frozen=True)
class Services:
    """The three services."""

    transmitter: ServiceProcess
    channel: ServiceProcess
    receiver: ServiceProcess

    @property
    def addresses(self) -> dict[str, str]:
        """Addresses as keyword arguments of the links."""
        return {
            "transmitter": self.transmitter.address,
            "channel": self.channel.address,
            "receiver": self.receiver.address,
        }


@contextmanager
def running_services(bundles: Path, logs: Path) -> Iterator[Services]:
    """Run transmitter, channel and receiver until the end of the block."""
    models = ("--bundles", str(bundles))
    flags = {"transmitter": models, "channel": (), "receiver": models}
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                ServiceProcess(
                    role, *more, "--log-level", "DEBUG", log=logs / f"{role}.log", wait=False
                )
            )
            for role, more in flags.items()
        ]
        for service in started:
            service.wait_ready()
        yield Services(*started)
        for service in started:
            service.process.terminate()
        for service in started:
            assert service.wait() == 0
            # Every line is JSON: nothing writes past the log.
            assert len(service.entries()) == len(service.log.read_text().splitlines())
