# SPDX-License-Identifier: Apache-2.0
"""One JSON object a line, whatever is logged."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time

from genjscc.serving.logs import FewAlike, Outlet

PROGRAM = """
import logging, warnings
from genjscc.serving.logs import set_up_logging
set_up_logging("test", "INFO")
log = logging.getLogger("genjscc")
log.debug("below the level")
log.info("two\\nlines", extra={"method": "Encode", "odd": {1, 2}.__class__})
warnings.warn("a library warns", stacklevel=1)
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
"""


def test_every_line_is_json() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    info, warning, failure = (json.loads(line) for line in done.stderr.splitlines())
    assert (info["message"], info["method"]) == ("two\nlines", "Encode")
    assert (info["level"], info["role"], info["request_id"]) == ("INFO", "test", "-")
    assert "a library warns" in warning["message"]
    assert "ZeroDivisionError" in failure["exception"]
    assert info["time"].endswith("+00:00")


def record(level: int = logging.INFO, line: int = 1, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("genjscc", level, "file", line, "call", None, None)
    made.__dict__.update(extra)
    return made


def test_of_lines_that_are_alike_few_are_written_and_the_others_counted() -> None:
    now = 0.0
    few = FewAlike(lambda: now)
    written = [few.filter(record(code="UNAUTHENTICATED")) for _ in range(1000)]
    assert sum(written) == 50
    assert few.lost == 950
    # Others are not affected, and at DEBUG every line is wanted.
    assert few.filter(record(code="INTERNAL"))
    assert few.filter(record(code="UNAUTHENTICATED", line=2))
    assert few.filter(record(logging.DEBUG, code="UNAUTHENTICATED"))
    now = 1.5
    late = record(code="UNAUTHENTICATED")
    assert few.filter(late)
    assert late.left_out == 950  # type: ignore[attr-defined]
    assert not few.filter(record(code="UNAUTHENTICATED"))


def test_a_reader_that_stands_still_costs_lines_and_no_time() -> None:
    reading, writing = os.pipe()
    outlet = Outlet(writing, most=10)
    started = time.monotonic()
    for _ in range(2000):
        outlet.emit(record(text="x" * 1000))
        outlet.format(record())
    assert time.monotonic() - started < 60  # a reader is waited for without end
    for _ in range(2000):
        outlet.emit(logging.LogRecord("genjscc", 20, "file", 1, "x" * 1000, None, None))
    assert outlet.lost > 1000
    lost = outlet.lost
    drained = threading.Thread(target=lambda: os.read(reading, 10_000_000), daemon=True)
    drained.start()
    drained.join(100)
    deadline = time.monotonic() + 100
    while outlet._lines.full() and time.monotonic() < deadline:
        os.read(reading, 65_536)
        time.sleep(0.01)
    outlet.emit(record())  # it goes on
    assert outlet.lost == lost
    os.close(reading)
    outlet.close()
    os.close(writing)


STALLED = """
import logging
from genjscc.serving.logs import set_up_logging
log = set_up_logging("test", "DEBUG")
for _ in range(20_000):
    logging.getLogger("genjscc").debug("x" * 1000)
print(log.outlet.lost > 0, flush=True)
"""


def test_a_process_ends_though_nobody_reads_its_log() -> None:
    reading, writing = os.pipe()
    done = subprocess.run(
        [sys.executable, "-c", STALLED],
        stdout=subprocess.PIPE,
        stderr=writing,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "True\n")
    os.close(reading)
    os.close(writing)
