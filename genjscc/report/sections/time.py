# SPDX-License-Identifier: Apache-2.0
"""Section on quality against decoding time at the receiver."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from genjscc.evaluation.receiver_time import TimedRecord
from genjscc.report.book import NOTHING, Book, caption_of
from genjscc.report.curves import baseline_curves, baselines_of
from genjscc.report.plots import Curve, Panel, Point
from genjscc.report.selection import (
    Shown,
    by_subject,
    name_of,
    ratio_text,
    snr_text,
)
from genjscc.report.sources import PSNR, Entry, Metric, Sources, perceptual_of


def receiver_time(book: Book, sources: Sources, shown: Shown) -> None:
    """Plot quality against decoding time at the receiver."""
    book.heading("Quality against receiver time")
    timed = sources.timed
    if not timed:
        book.text(NOTHING)
        return
    for subject, entries in by_subject(timed).items():
        perceptual = perceptual_of(entries)
        metrics = [metric for metric in (perceptual, PSNR) if metric]
        places = sorted({(entry.ratio, entry.record.snr_db) for entry in entries})
        panels = []
        drawn = list(entries)
        for ratio, snr in places:
            here = [e for e in entries if (e.ratio, e.record.snr_db) == (ratio, snr)]
            fixed = baselines_of(shown.main, subject, ratio)
            fixed = [entry for entry in fixed if entry.record.snr_db == snr]
            drawn += fixed
            for metric in metrics:
                title = f"rho = {ratio_text(ratio)}, {snr_text(snr)}"
                curves = [*_timed_curves(here, metric)]
                span = [point.x for curve in curves for point in curve.points]
                level = _levels(fixed, metric, (min(span), max(span)))
                axis = "receiver's compute time / ms"
                panels.append(Panel(title, axis, metric.axis, [*curves, *level], _ticks(span)))
        book.heading(subject.title, 3)
        machines = {f"{r.processor}, {r.threads} thread(s)" for r in _timed_records(entries)}
        caption = caption_of(
            metrics,
            f"One image at a time on {'; '.join(sorted(machines))}. Baselines are drawn as "
            "horizontal lines, because their decoding time was not measured.",
        )
        book.figure(f"time_{subject.slug}", panels, caption, drawn, columns=len(metrics))
        book.table(
            ["", "rho", "SNR", "ms per image", *(metric.title for metric in metrics)],
            [
                [
                    name_of(entry),
                    record.bandwidth_ratio,
                    snr_text(record.snr_db),
                    f"{1e3 * record.receiver_seconds.mean:.1f} ± "
                    f"{1e3 * record.receiver_seconds.ci95:.1f}",
                    *(metric.text(record) for metric in metrics),
                ]
                for entry, record in zip(entries, _timed_records(entries), strict=True)
            ],
        )


def _timed_records(entries: Iterable[Entry]) -> list[TimedRecord]:
    return [entry.record for entry in entries if isinstance(entry.record, TimedRecord)]


def _timed_curves(entries: Sequence[Entry], metric: Metric) -> list[Curve]:
    curves = []
    for number, (entry, record) in enumerate(zip(entries, _timed_records(entries), strict=True)):
        value = metric.value(record)
        if value is not None:
            milliseconds = 1e3 * record.receiver_seconds.mean
            point = Point(milliseconds, value, metric.interval(record))
            style = {"color": f"C{number % 10}", "linestyle": ""}
            curves.append(Curve(name_of(entry), [point], style))
    return curves


def _levels(entries: Sequence[Entry], metric: Metric, span: tuple[float, float]) -> list[Curve]:
    """Return the baselines at one SNR as horizontal lines."""
    curves = []
    for curve in baseline_curves(entries, metric):
        (at,) = curve.points
        points = [Point(x, at.y, lost=at.lost) for x in span]
        curves.append(Curve(curve.label, points, {**curve.style, "marker": ""}))
    return curves


def _ticks(span: Sequence[float]) -> list[tuple[float, str]]:
    powers = [10.0**power for power in range(-1, 7)]
    low = max((p for p in powers if p <= min(span)), default=powers[0])
    high = min((p for p in powers if p >= max(span)), default=powers[-1])
    return [(power, f"{power:g}") for power in powers if low <= power <= high]
