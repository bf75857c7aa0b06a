# SPDX-License-Identifier: Apache-2.0
"""Local processes: they start, say why they do not, and never outlive who started them."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time

import pytest

from genjscc.errors import MissingExtraError, UnavailableError
from genjscc.launch.processes import LocalService, LocalServices
from genjscc.repository import REPOSITORY

PARENT = """
import sys, time
from genjscc.launch.processes import LocalService
service = LocalService("channel")
service.wait_ready()
print(service.address, flush=True)
time.sleep(600)
"""


def is_listening(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=60).close()
    except OSError:
        return False
    return True


def test_a_service_ends_with_a_parent_that_was_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    ) as parent:
        assert parent.stdout is not None
        address = parent.stdout.readline().strip()
        assert is_listening(address)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        until = time.monotonic() + 100
        while is_listening(address):
            assert time.monotonic() < until, "the channel outlived its parent"
            time.sleep(0.05)


def test_a_service_that_cannot_start_says_why() -> None:
    service = LocalService("channel", ["--port", "99999"])
    with pytest.raises(UnavailableError, match=r"channel ended at its start: .*port"):
        service.wait_ready(300)
    assert service.wait() != 0


def test_a_killed_service_is_gone_and_waiting_for_it_ends() -> None:
    service = LocalService("channel")
    service.wait_ready(300)
    assert service.kill() == -signal.SIGKILL
    assert service.wait() == -signal.SIGKILL
    assert not is_listening(service.address)


def test_services_that_are_not_installed() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'genjscc\[serve\]'"):
        LocalService("no_such_service")


def test_a_service_that_ends_is_started_again_where_it_was() -> None:
    told: list[str] = []
    services = LocalServices()
    services.services["channel"] = first = LocalService("channel")
    first.wait_ready(300)
    with services.kept_alive(told.append):
        first.kill()
        until = time.monotonic() + 300
        while (second := services.services["channel"]) is first or not second.address:
            assert time.monotonic() < until
            time.sleep(0.05)
    assert second.address == first.address
    assert is_listening(second.address)
    assert services.stop() == {"channel": 0}
    (line,) = told
    assert line.startswith("channel has ended")
    services.restart("channel")  # too late: they are stopped
    assert services.services["channel"] is second
