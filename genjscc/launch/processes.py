# SPDX-License-Identifier: Apache-2.0
"""The services as local processes, for `genjscc up`, the demo, benchmarks and tests.

    with LocalServices() as services, services.connect() as link:
        reception = link.send("photo.png")

Each is a real process; leaving the block drains and ends them. They end with this process too,
however it ends: each holds the other end of a pipe that closes then.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from queue import Empty, Queue
from types import TracebackType
from typing import IO, Self

from genjscc.client.link import Link
from genjscc.errors import MissingExtraError, UnavailableError
from genjscc.service_packages import ROLES, service_package

_START_S, _STOP_S = 120.0, 15.0
_LOOK_EVERY_S, _MOST_PAUSE_S = 1.0, 30.0


class LocalService:
    """A `python -m ROLE` process, which loads its models until `wait_ready` returns.

    Args:
        role: which service.
        flags: of its command line; ports that are not named are picked free.
        echo_logs: pass its log on to standard error.

    Attributes:
        address: host:port, once it is ready.
        metrics: URL of its metrics, once it is ready; empty where they are off.

    Raises:
        MissingExtraError: the services' code is not here.
    """

    def __init__(self, role: str, flags: Sequence[str] = (), *, echo_logs: bool = False) -> None:
        package = service_package(role)
        if find_spec(package) is None:
            raise MissingExtraError(
                "the services' code is not in this installation; pip install 'genjscc[serve]', or "
                "connect to services that run elsewhere"
            )
        self.role, self.address, self.metrics = role, "", ""
        self._echo = echo_logs
        self._last_words: deque[str] = deque(maxlen=20)
        self._announced: Queue[str] = Queue()
        own = [
            part
            for port in ("--port", "--metrics-port")
            if port not in flags
            for part in (port, "0")
        ]
        self.process = subprocess.Popen(  # noqa: S603 (our own modules)
            [sys.executable, "-m", package, *flags, *own, "--stop-with-parent"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C reaches the parent alone, which then ends them in order.
            start_new_session=True,
        )
        for read, stream in (
            (self._read_stdout, self.process.stdout),
            (self._read_stderr, self.process.stderr),
        ):
            threading.Thread(target=read, args=(stream,), daemon=True).start()

    def _read_stdout(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._announced.put(line)
        self._announced.put("")

    def _read_stderr(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._last_words.append(line.rstrip())
                if self._echo:
                    sys.stderr.write(line)

    def wait_ready(self, timeout_s: float = _START_S) -> None:
        """Wait until the models are loaded.

        Raises:
            UnavailableError: it ended or was too slow; its last words are in the text.
        """
        try:
            line = self._announced.get(timeout=max(0.0, timeout_s))
        except Empty:
            raise UnavailableError(f"{self.role}: not ready in time") from None
        if not line:
            self.process.wait()
            raise UnavailableError(f"{self.role} ended at its start: {self.last_words}")
        announced = json.loads(line)
        self.address, self.metrics = announced["address"], announced.get("metrics", "")

    @property
    def last_words(self) -> str:
        """Return the last line of the log."""
        return self._last_words[-1] if self._last_words else "it said nothing"

    def terminate(self) -> None:
        """Ask the process to drain and exit."""
        if self.process.poll() is None:
            self.process.terminate()

    def wait(self, timeout_s: float = _STOP_S) -> int:
        """Wait for the exit code; kill the process if it does not exit."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            code = self.kill()
        if self.process.stdin is not None:
            self.process.stdin.close()
        return code

    def kill(self) -> int:
        """Kill the process at once, without a drain; return its exit code."""
        self.process.kill()
        return self.process.wait()


class LocalServices:
    """Context manager of the three services, which are ready when it is entered.

    Args:
        flags: command-line flags of each role; ports that are not named are picked free.
        start_timeout_s: time for all three to become ready.
        echo_logs: pass their logs on to standard error.

    Raises (on entering):
        UnavailableError: one of them ended or was too slow; its last words are in the text.
        MissingExtraError: the services' code is not here.
    """

    def __init__(
        self,
        flags: Mapping[str, Sequence[str]] | None = None,
        *,
        start_timeout_s: float = _START_S,
        echo_logs: bool = False,
    ) -> None:
        self._flags = flags or {}
        self._start_timeout_s, self._echo = start_timeout_s, echo_logs
        self.services: dict[str, LocalService] = {}
        self._ports: dict[str, str] = {}
        self._changing, self._stopped = threading.Lock(), False

    def __enter__(self) -> Self:
        until = time.monotonic() + self._start_timeout_s
        self._stopped = False
        try:
            for role in ROLES:
                flags = self._flags.get(role, ())
                self.services[role] = LocalService(role, flags, echo_logs=self._echo)
            for service in self.services.values():
                service.wait_ready(until - time.monotonic())
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def addresses(self) -> dict[str, str]:
        """Address of each service by role."""
        return {role: service.address for role, service in self.services.items()}

    def connect(self) -> Link:
        """Return a link to these services."""
        at = self.addresses
        return Link(transmitter=at["transmitter"], channel=at["channel"], receiver=at["receiver"])

    def ended(self) -> LocalService | None:
        """Return a service that has exited by itself, if any."""
        for service in self.services.values():
            if service.process.poll() is not None:
                return service
        return None

    def restart(self, role: str) -> None:
        """Starts a service that has ended once more, at the address that it had.

        Raises:
            UnavailableError: it ended again or was too slow.
        """
        port = self.services[role].address.rpartition(":")[2] or self._ports[role]
        self._ports[role] = port
        with self._changing:
            if self._stopped:
                return
            self.services[role].wait()
            # Of two ports the later one counts.
            flags = [*self._flags.get(role, ()), "--port", port]
            service = LocalService(role, flags, echo_logs=self._echo)
            self.services[role] = service
        service.wait_ready(self._start_timeout_s)

    @contextmanager
    def kept_alive(self, tell: Callable[[str], None]) -> Iterator[None]:
        """Inside, a service that ends is started again; `tell` gets a line each time."""
        done = threading.Event()

        def watch() -> None:
            pause = _LOOK_EVERY_S
            while not done.wait(pause):
                ended = self.ended()
                if ended is None:
                    pause = _LOOK_EVERY_S
                    continue
                tell(f"{ended.role} has ended ({ended.last_words}); it is started again")
                try:
                    self.restart(ended.role)
                except UnavailableError as error:
                    tell(str(error))
                    pause = min(2 * pause, _MOST_PAUSE_S)

        threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        finally:
            done.set()

    def stop(self) -> dict[str, int]:
        """Asks them to drain and end; kills one that does not. Returns their exit codes."""
        with self._changing:
            self._stopped = True
        for service in self.services.values():
            service.terminate()
        return {role: service.wait() for role, service in self.services.items()}
