# SPDX-License-Identifier: Apache-2.0
"""The three services as processes on this machine: for `genjscc up`, the demo and tests.

    with LocalServices() as services, services.connect() as link:
        reception = link.send("photo.png")

Each is a real process; leaving the block drains and ends them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from queue import Empty, Queue
from types import TracebackType
from typing import IO, Self

from genjscc.client.link import Link
from genjscc.errors import MissingExtraError, UnavailableError

ROLES = ("transmitter", "channel", "receiver")
_STOP_S = 15.0


class LocalServices:
    """Starts `python -m transmitter`, `channel` and `receiver`, ready when entered.

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
        start_timeout_s: float = 120.0,
        echo_logs: bool = False,
    ) -> None:
        self._flags = flags or {}
        self._start_timeout_s, self._echo = start_timeout_s, echo_logs
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.addresses: dict[str, str] = {}
        self.metrics: dict[str, str] = {}
        self._last_words: dict[str, deque[str]] = {role: deque(maxlen=20) for role in ROLES}

    def __enter__(self) -> Self:
        if not all(find_spec(role) for role in ROLES):
            raise MissingExtraError(
                "the services' code is not in this installation; clone the repository and "
                "pip install -e '.[models]', or connect to services that run elsewhere"
            )
        ready: Queue[tuple[str, str]] = Queue()
        try:
            for role in ROLES:
                self._start(role, ready)
            self._await_ready(ready)
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

    def _start(self, role: str, ready: Queue[tuple[str, str]]) -> None:
        flags = list(self._flags.get(role, ()))
        for port in ("--port", "--metrics-port"):
            if port not in flags:
                flags += [port, "0"]
        process = subprocess.Popen(  # noqa: S603 (our own modules)
            [sys.executable, "-m", role, *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C reaches the parent alone, which then ends them in order.
            start_new_session=True,
        )
        self.processes[role] = process
        if process.stdout is None or process.stderr is None:
            raise RuntimeError("both streams were asked for as pipes")
        threading.Thread(
            target=self._read_stdout, args=(role, process.stdout, ready), daemon=True
        ).start()
        threading.Thread(target=self._read_stderr, args=(role, process.stderr), daemon=True).start()

    @staticmethod
    def _read_stdout(role: str, stream: IO[str], ready: Queue[tuple[str, str]]) -> None:
        for line in stream:
            ready.put((role, line))
        ready.put((role, ""))

    def _read_stderr(self, role: str, stream: IO[str]) -> None:
        for line in stream:
            self._last_words[role].append(line.rstrip())
            if self._echo:
                sys.stderr.write(line)

    def _await_ready(self, ready: Queue[tuple[str, str]]) -> None:
        until = time.monotonic() + self._start_timeout_s
        while len(self.addresses) < len(ROLES):
            try:
                role, line = ready.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                late = ", ".join(role for role in ROLES if role not in self.addresses)
                raise UnavailableError(
                    f"{late}: not ready after {self._start_timeout_s:g} s"
                ) from None
            if not line:
                self.processes[role].wait()
                raise UnavailableError(f"{role} ended at its start: {self.last_words(role)}")
            announced = json.loads(line)
            self.addresses[role] = announced["address"]
            if "metrics" in announced:
                self.metrics[role] = announced["metrics"]

    def connect(self) -> Link:
        """A link to these services."""
        return Link(
            transmitter=self.addresses["transmitter"],
            channel=self.addresses["channel"],
            receiver=self.addresses["receiver"],
        )

    def last_words(self, role: str) -> str:
        """The last line that a service wrote to its log."""
        words = self._last_words[role]
        return words[-1] if words else "it said nothing"

    def ended(self) -> str | None:
        """The role of a service that has ended by itself, if any."""
        for role, process in self.processes.items():
            if process.poll() is not None:
                return role
        return None

    def stop(self) -> dict[str, int]:
        """Asks them to drain and end; kills one that does not. Returns their exit codes."""
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        codes = {}
        for role, process in self.processes.items():
            try:
                codes[role] = process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                codes[role] = process.wait()
        return codes
