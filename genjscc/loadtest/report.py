# SPDX-License-Identifier: Apache-2.0
"""Output of a load test as JSON and as a plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from genjscc.errors import needs
from genjscc.loadtest.recorder import Recorder

_SHOWN = (0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99)


def summarise(recorder: Recorder, seconds: float) -> dict[str, Any]:
    """Return the measured part of a result file; latencies in milliseconds."""
    done = sum(recorder.statuses.values())
    found: dict[str, Any] = {
        "seconds": seconds,
        "images": done,
        "per_second": done / seconds,
        "ok_per_second": recorder.statuses["OK"] / seconds,
        "statuses": dict(recorder.statuses.most_common()),
        "generator_late_ms": recorder.late.summary() if len(recorder.late) else {},
    }
    if len(recorder.ok):
        found["latency_ms"] = recorder.ok.summary()
        found["hop_ms"] = {h: one.summary() for h, one in recorder.hops.items() if len(one)}
        found["by_size_ms"] = {k: one.summary() for k, one in sorted(recorder.by_class.items())}
        found["latency_hdr_us"] = recorder.ok.encoded()
    if len(recorder.failed):
        found["failed_latency_ms"] = recorder.failed.summary()
    found["timeline"] = [
        {"second": number, "ok": second.ok, "failed": second.failed}
        for number, second in enumerate(recorder.timeline)
    ]
    return found


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a result file, with numbers rounded to six digits."""
    rounded = json.loads(json.dumps(content), parse_float=lambda text: float(f"{float(text):.6g}"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rounded, indent=2) + "\n", encoding="utf-8")


def plot(recorder: Recorder, title: str, path: Path) -> None:
    """Plot latency by percentile, and responses over time.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with needs("load", "plotting"):
        from matplotlib.figure import Figure
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    figure.suptitle(title)
    lines = {"all": recorder.ok} | dict(sorted(recorder.by_class.items()))
    for name, latencies in lines.items():
        if len(latencies) and not (name != "all" and len(lines) == 2):
            values = [latencies.at(percentile) for percentile in _SHOWN]
            left.plot(range(len(_SHOWN)), values, marker=".", label=name)
    left.set_xticks(range(len(_SHOWN)), [f"{percentile:g}" for percentile in _SHOWN], rotation=45)
    left.set_xlabel("percentile of answered images")
    left.set_ylabel("latency / ms")
    left.set_yscale("log")
    if len(recorder.ok):
        left.legend(title="size")
    seconds = range(len(recorder.timeline))
    right.plot(seconds, [second.ok for second in recorder.timeline], label="answered")
    right.plot(seconds, [second.failed for second in recorder.timeline], label="failed")
    right.set_xlabel("time / s")
    right.set_ylabel("images per second")
    right.set_ylim(bottom=0)
    right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
