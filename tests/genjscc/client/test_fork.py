# SPDX-License-Identifier: Apache-2.0
"""Links and forks: a child says at once that gRPC is lost to it, and never waits for ever."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import os, signal, sys
from genjscc import Link
nobody = dict.fromkeys(("transmitter", "channel", "receiver"), "127.0.0.1:9")
def ask(link):
    try:
        link.models()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
link = Link(**nobody, timeout_s=0.5)
if "used" in sys.argv:
    ask(link)
outcomes = link.send_many([b"x"])
if os.fork() == 0:
    signal.alarm(300)
    print(ask(Link(**nobody, timeout_s=20) if "new" in sys.argv else link), flush=True)
    link.close()
    outcomes.close()
    os._exit(0)
print("child", os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["used", "old"], "had used gRPC already.*multiprocessing_context='spawn'"),
        (["used", "new"], "had used gRPC already.*multiprocessing_context='spawn'"),
        (["unused", "old"], "its thread is not in its fork.*make one in each process"),
        (["unused", "new"], "transmitter at 127.0.0.1:9"),  # works: nobody is there
    ],
)
def test_a_forked_child_is_told_at_once(arguments: list[str], problem: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    child, status = done.stdout.splitlines()[-2:]
    assert child.startswith("UnavailableError: ")
    for part in problem.split(".*"):
        assert part in child
    assert status == "child 0"
