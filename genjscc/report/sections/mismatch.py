# SPDX-License-Identifier: Apache-2.0
"""Section on SNR mismatch: networks that assume an SNR other than the true one."""

from __future__ import annotations

from collections.abc import Sequence

from genjscc.report.book import NOTHING, Book, caption_of
from genjscc.report.curves import SNR_AXIS, baseline_curves, baselines_of
from genjscc.report.plots import Curve, Panel, Point
from genjscc.report.selection import AWGN, Shown, by_subject, ratio_text, snr_text
from genjscc.report.sources import PSNR, Entry, Metric, perceptual_of


def mismatch(book: Book, shown: Shown) -> None:
    """Plot quality of networks that assume an SNR other than the true one."""
    book.heading("SNR mismatch")
    mismatched = [e for e in shown.others if e.record.told_snr_db is not None]
    if not mismatched:
        book.text(NOTHING)
    for subject, entries in by_subject(mismatched).items():
        perceptual = perceptual_of(entries)
        metrics = [metric for metric in (perceptual, PSNR) if metric]
        panels = []
        drawn = list(entries)
        for bundle in sorted({str(entry.record.bundle) for entry in entries}):
            for ratio in sorted({entry.ratio for entry in entries}):
                same = [e for e in entries if e.ratio == ratio and e.record.bundle == bundle]
                subset = {(e.record.n, e.record.seed) for e in same}
                matched = [
                    entry
                    for entry in (*shown.main, *shown.others)
                    if entry.record.bundle == bundle
                    and entry.ratio == ratio
                    and entry.record.told_snr_db is None
                    and entry.record.channel == AWGN
                    and entry.record.dataset == subject.dataset
                    and (entry.record.n, entry.record.seed) in subset
                ]
                fixed = baselines_of(shown.main, subject, ratio)
                drawn += [*matched, *fixed]
                for metric in metrics:
                    title = f"{bundle}, rho = {ratio_text(ratio)}"
                    curves = [*_assumed_curves(same, metric), *_true_curve(matched, metric)]
                    curves += baseline_curves(fixed, metric)
                    panels.append(Panel(title, SNR_AXIS, metric.axis, curves))
        book.heading(subject.title, 3)
        caption = caption_of(metrics, "One curve for each SNR that the networks assume.")
        book.figure(f"mismatch_{subject.slug}", panels, caption, drawn, columns=len(metrics))


def _assumed_curves(entries: Sequence[Entry], metric: Metric) -> list[Curve]:
    curves = []
    for number, assumed in enumerate(sorted({e.record.told_snr_db or 0.0 for e in entries})):
        points = [
            Point(e.record.snr_db, metric.value(e.record) or 0.0, metric.interval(e.record))
            for e in entries
            if e.record.told_snr_db == assumed
        ]
        curves.append(Curve(f"assumed {snr_text(assumed)}", points, {"color": f"C{number}"}))
    return curves


def _true_curve(entries: Sequence[Entry], metric: Metric) -> list[Curve]:
    points = [Point(e.record.snr_db, metric.value(e.record) or 0.0) for e in entries]
    style = {"color": "black", "linestyle": "--", "marker": ""}
    return [Curve("true SNR", points, style)] if points else []
