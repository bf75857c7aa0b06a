# SPDX-License-Identifier: Apache-2.0
"""Measurements of a load test: latencies in HDR histograms, statuses, a timeline."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from genjscc.client.options import HOPS
from genjscc.errors import needs

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
_LONGEST_US, _DIGITS = 3_600_000_000, 3


def _histogram() -> Any:
    with needs("load", "a load test"):
        from hdrh.histogram import HdrHistogram
    return HdrHistogram(1, _LONGEST_US, _DIGITS)


class Latencies:
    """Histogram of latencies in seconds, with three significant digits."""

    def __init__(self) -> None:
        self._histogram = _histogram()

    def add(self, seconds: float) -> None:
        self._histogram.record_value(min(_LONGEST_US, max(1, round(seconds * 1e6))))

    def __len__(self) -> int:
        return int(self._histogram.get_total_count())

    def at(self, percentile: float) -> float:
        """Return a percentile in milliseconds."""
        return float(self._histogram.get_value_at_percentile(percentile)) / 1e3

    def summary(self) -> dict[str, float]:
        """Return percentiles, mean and maximum in milliseconds."""
        found = {f"p{percentile:g}": self.at(percentile) for percentile in PERCENTILES}
        mean, longest = self._histogram.get_mean_value(), self._histogram.get_max_value()
        return found | {"mean": float(mean) / 1e3, "max": float(longest) / 1e3}

    def encoded(self) -> str:
        """Encode the histogram (microseconds) in HdrHistogram's V2 text format."""
        return bytes(self._histogram.encode()).decode()


@dataclass
class Second:
    """One second of the timeline."""

    ok: int = 0
    failed: int = 0
    latencies: list[float] = field(default_factory=list)


class Recorder:
    """Record of completed requests."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.ok = Latencies()
        self.failed = Latencies()
        self.hops = {hop: Latencies() for hop in HOPS}
        self.by_class: dict[str, Latencies] = {}
        self.timeline: list[Second] = []
        self.in_flight = 0
        self.late = Latencies()  # delay of the generator itself behind its schedule
        self.started_at = time.perf_counter()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first request."""
        return time.perf_counter() - self.started_at

    def end(self, status: str, seconds: float, kind: str, hops: dict[str, float]) -> None:
        """Record the end of a request.

        Args:
            status: name of its gRPC status.
            seconds: latency since it was due.
            kind: its part of the mix.
            hops: seconds of each hop, if the request succeeded.
        """
        self.statuses[status] += 1
        second = self._second()
        if status != "OK":
            second.failed += 1
            self.failed.add(seconds)
            return
        second.ok += 1
        second.latencies.append(seconds)
        self.ok.add(seconds)
        self.by_class.setdefault(kind, Latencies()).add(seconds)
        for hop, took in hops.items():
            self.hops[hop].add(took)  # type: ignore[index]

    def _second(self) -> Second:
        number = int(self.elapsed_s)
        while len(self.timeline) <= number:
            self.timeline.append(Second())
        return self.timeline[number]
