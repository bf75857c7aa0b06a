# SPDX-License-Identifier: Apache-2.0
"""The compared servers, ours among them: how to start, call and stop each."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import grpc

from benchmarks.common.harness import ANSWERED, DECODE, ENCODE, family_of, grpc_sender
from benchmarks.common.in_process import MODEL
from benchmarks.peers.install import python_of
from genjscc.errors import UnavailableError
from genjscc.launch.processes import LocalService
from genjscc.loadtest.loops import Send
from genjscc.loadtest.mix import Shot
from genjscc.v1 import receiver_pb2, transmitter_pb2

PATHS = {"transmitter": ENCODE, "receiver": DECODE}
MAX_BATCH = 16
START_S = 120.0
OURS = "genjscc"


class PeerError(Exception):
    """A server that cannot be started, or answers incorrectly."""


class Speech(Protocol):
    """Protocol between client and server."""

    def payload(self, request: Any) -> bytes:
        """Convert one of our requests to a payload."""
        ...

    def answer(self, body: bytes) -> bytes:
        """Read symbols or pixels from an answer."""
        ...


@dataclass(frozen=True)
class OverGrpc:
    """Our own protocol."""

    role: str

    def payload(self, request: Any) -> bytes:
        made: bytes = request.SerializeToString()
        return made

    def answer(self, body: bytes) -> bytes:
        if self.role == "transmitter":
            return transmitter_pb2.EncodeResponse.FromString(body).codeword.symbols.data
        return receiver_pb2.DecodeResponse.FromString(body).image.raw.rgb


@dataclass(frozen=True)
class OverHttp:
    """Base64 in JSON; BentoML takes lists."""

    role: str
    in_lists: bool

    def payload(self, request: Any) -> bytes:
        is_image = self.role == "transmitter"
        content = request.image.raw.rgb if is_image else request.received.symbols.data
        text = base64.b64encode(content).decode()
        return json.dumps({"data": [text] if self.in_lists else text}).encode()

    def answer(self, body: bytes) -> bytes:
        found = json.loads(body)
        return base64.b64decode(found[0] if self.in_lists else found["data"])


class Server:
    """A server for one role, in its own process.

    Attributes:
        protocol: how to speak to it.
        pid: whose family does the work.
    """

    def __init__(self, name: str, role: str, environments: Path, wait_ms: float) -> None:
        self.name, self.role = name, role
        self._service: LocalService | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the server)
        self.protocol: Speech = OverGrpc(role)
        if name == OURS:
            flags = ["--max-batch", str(MAX_BATCH), "--threads", "1", "--default-model", MODEL]
            self._service = LocalService(role, flags)
            self.process: Any = self._service.process
            self.pid = self.process.pid
            return
        if name != "ray":
            self.protocol = OverHttp(role, in_lists=name == "bentoml")
        python, note = python_of(environments, name), environments / f"{name}.error"
        if note.exists():
            raise PeerError(f"not installed: {note.read_text().strip()}")
        if not python.exists():
            raise PeerError(f"not installed: no {python}; run benchmarks/peers/install.py")
        self._port = free_port()
        script = Path(__file__).with_name(f"{name}_server.py")
        self.process = subprocess.Popen(
            [str(python.absolute()), str(script), str(self._port), role, str(wait_ms)],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        self.pid = self.process.pid

    @property
    def address(self) -> str:
        """host:port."""
        return self._service.address if self._service else f"127.0.0.1:{self._port}"

    @asynccontextmanager
    async def sender(self) -> AsyncIterator[Send]:
        """Return a function that sends payloads over persistent connections."""
        if isinstance(self.protocol, OverGrpc):
            # Ray's proxy wants to know the application.
            metadata = (("application", "default"),) if self.name == "ray" else ()
            async with grpc_sender(self.address, PATHS[self.role], metadata) as send:
                yield send
            return
        headers = {"Content-Type": "application/json"}
        async with aiohttp.ClientSession(
            f"http://{self.address}",
            connector=aiohttp.TCPConnector(limit=0),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=60),
        ) as session:

            async def send(shot: Shot) -> Any:
                try:
                    async with session.post("/predict", data=shot.image) as response:
                        body = await response.read()
                except (aiohttp.ClientError, TimeoutError) as error:
                    raise UnavailableError(str(error)) from error
                if response.status != 200:
                    raise UnavailableError(f"HTTP {response.status}: {body[:200]!r}")
                return ANSWERED

            yield send

    async def first_answer(self, payload: bytes) -> bytes:
        """Wait until the server answers; return symbols or pixels.

        Raises:
            PeerError: it ended, or does not answer in time; its last words are in the text.
        """
        if self._service is not None and not self._service.address:
            try:
                await asyncio.to_thread(self._service.wait_ready)
            except UnavailableError as error_:
                raise PeerError(str(error_)) from error_
        until, error = time.monotonic() + START_S, ""
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise PeerError(f"ended at its start: {self.last_words()}")
            try:
                return self.protocol.answer(await self._once(payload))
            except (aiohttp.ClientError, grpc.aio.AioRpcError, PeerError, OSError) as again:
                error = reason(again)
                await asyncio.sleep(0.1)
        raise PeerError(f"no answer in {START_S:g} s: {error}; {self.last_words()}")

    async def _once(self, payload: bytes) -> bytes:
        if isinstance(self.protocol, OverGrpc):
            async with grpc.aio.insecure_channel(self.address) as connection:
                call = connection.unary_unary(PATHS[self.role])
                metadata = (("application", "default"),)
                found: bytes = await call(payload, metadata=metadata, timeout=30)
                return found
        async with (
            aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session,
            session.post(f"http://{self.address}/predict", data=payload) as response,
        ):
            body = await response.read()
            if response.status != 200:
                raise PeerError(f"HTTP {response.status}: {body[:200]!r}")
            return body

    def last_words(self) -> str:
        """Return the end of the server's output."""
        if self._service is not None:
            return self._service.last_words
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return "; ".join(line.strip() for line in lines[-3:]) or "it said nothing"

    def stop(self) -> None:
        """Stop the server and its child processes."""
        if self._service is not None:
            self._service.terminate()
            self._service.wait()
            return
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self._signal(signal.SIGKILL)
        self.process.wait()
        self._log.close()

    def _signal(self, number: int) -> None:
        for pid in family_of(self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def reason(error: Exception) -> str:
    """Format an error as one line."""
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return (str(error).splitlines() or [type(error).__name__])[0]


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
