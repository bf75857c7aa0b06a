# SPDX-License-Identifier: Apache-2.0
"""Logs of the services: one JSON object per line on standard error.

Neither who calls nor who reads the log may do harm by it: of lines that are alike a few are
written and the others counted, and a reader that stands still loses lines instead of stopping the
service.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from genjscc.serving.context import request_id

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
# Of each kind of line: so many at once, and then so many a second.
_AT_ONCE, _PER_S = 50, 1.0
_MOST_KINDS = 1000
_MOST_LINES = 10_000
_LAST_WORDS_S = 2.0


class JsonFormatter(logging.Formatter):
    """Format time, level, role, message, request id and the fields of `extra` as JSON."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "role": self._role,
            "message": record.getMessage(),
            "request_id": request_id.get(),
        }
        entry |= {k: v for k, v in record.__dict__.items() if k not in _STANDARD}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


class FewAlike(logging.Filter):
    """Filter that passes a bounded number of similar lines; debug lines always pass.

    A line after some that were left out says how many in `left_out`.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock, self._lock = clock, threading.Lock()
        # Kind to how many may pass at a time, and how many have not since the last one that did.
        self._kinds: dict[object, tuple[float, float, int]] = {}
        self.lost = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno <= logging.DEBUG:
            return True
        kind = (
            record.name,
            record.pathname,
            record.lineno,
            getattr(record, "method", None),
            getattr(record, "code", None),
        )
        with self._lock:
            return self._passes(kind, record)

    def _passes(self, kind: object, record: logging.LogRecord) -> bool:
        if len(self._kinds) >= _MOST_KINDS:
            self._kinds.clear()
        now = self._clock()
        left, since, left_out = self._kinds.get(kind, (float(_AT_ONCE), now, 0))
        left = min(float(_AT_ONCE), left + (now - since) * _PER_S)
        if left < 1:
            self._kinds[kind] = (left, now, left_out + 1)
            self.lost += 1
            return False
        self._kinds[kind] = (left - 1, now, 0)
        if left_out:
            record.left_out = left_out
        return True


def is_no_parting_word(record: logging.LogRecord) -> bool:
    """Filter out grpcio's stack traces about callers that have disconnected."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__name__ != "ExecuteBatchError"


class Outlet(logging.Handler):
    """Stream that writes lines on its own thread; if that is blocked, lines are dropped and
    counted.

    Args:
        file: descriptor to write to. A stream's lock would be held by the thread for good.
        most: lines that may wait.
    """

    def __init__(self, file: int, most: int = _MOST_LINES) -> None:
        super().__init__()
        self._file = file
        self._lines: queue.Queue[str | None] = queue.Queue(most)
        self.lost = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self.lost += 1
        except Exception:  # noqa: BLE001 (as every handler: a log must not end what it tells of)
            self.handleError(record)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            data = line.encode(errors="backslashreplace") + b"\n"
            try:
                while data:
                    data = data[os.write(self._file, data) :]
            except OSError:  # nobody reads any more
                self.lost += 1

    def close(self) -> None:
        """Write the remaining lines, as long as somebody reads them."""
        with suppress(queue.Full):
            self._lines.put(None, timeout=_LAST_WORDS_S)
            self._thread.join(_LAST_WORDS_S)
        super().close()


class Log:
    """Handles to the logging of a process, made by `set_up_logging`.

    Attributes:
        alike: knows how many lines were left out because there were too many of a kind.
        outlet: knows how many were lost because nobody read them.
    """

    def __init__(self, role: str, file: int) -> None:
        self.alike, self.outlet = FewAlike(), Outlet(file)
        self.outlet.addFilter(is_no_parting_word)
        self.outlet.addFilter(self.alike)
        self.outlet.setFormatter(JsonFormatter(role))


def set_up_logging(role: str, level: str) -> Log:
    """Send all log records of this process from `level` upwards to standard error."""
    log = Log(role, sys.stderr.fileno())
    logging.basicConfig(level=level, handlers=[log.outlet], force=True)
    logging.captureWarnings(True)
    return log
