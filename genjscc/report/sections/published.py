# SPDX-License-Identifier: Apache-2.0
"""Published results of other systems beside those of this repository."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from genjscc.report.book import Book
from genjscc.report.curves import SNR_AXIS, baseline_curves, learned_curves
from genjscc.report.plots import Curve, Panel, Point
from genjscc.report.published import PublishedPoint
from genjscc.report.selection import (
    AWGN,
    Shown,
    by_subject,
    comparable,
    ratio_text,
    snr_text,
)
from genjscc.report.sources import PSNR, Entry

_MARKERS = "sD^v<>ph*X"


def published(book: Book, shown: Shown, points: dict[str, list[PublishedPoint]]) -> None:
    """Draw PSNR over AWGN against SNR and against the bandwidth ratio, others' points included."""
    subjects = by_subject(shown.main)
    own_sizes = {one.dataset for one in subjects if one.image_size == "mixed"}
    for subject, entries in subjects.items():
        others = [p for p in points.get(subject.dataset, []) if p.channel == AWGN]
        ours = comparable(entries)
        # Published points are of whole images: squares cut from them are not compared.
        if not others or (subject.dataset in own_sizes and subject.image_size != "mixed"):
            continue
        book.heading(f"Published results: {subject.title}")
        book.text(
            "Thin grey lines are figures that others published for their own models, as listed "
            "below; they were not measured here. SNR and ratio follow the same conventions."
        )
        panels = [*_against_snr(ours, others), *_against_ratio(ours, others)]
        caption = "PSNR of this repository's models and of published systems."
        book.figure(f"published_{subject.slug}", panels, caption, ours)
        sources = sorted({(p.scheme, p.kind, p.source) for p in others})
        book.folded("Sources of the published figures", ("system", "how read", "source"), sources)


def _against_snr(ours: Sequence[Entry], others: Sequence[PublishedPoint]) -> list[Panel]:
    panels = []
    for ratio in sorted({p.ratio for p in others}):
        at = [p for p in others if p.ratio == ratio]
        here = [entry for entry in ours if entry.ratio == ratio]
        curves = [
            *learned_curves(here, PSNR),
            *baseline_curves(here, PSNR),
            *_curves(at, others, lambda p: p.snr_db),
        ]
        several = len({p.snr_db for p in at}) > 1
        if several or here:
            panels.append(Panel(f"ratio {ratio_text(ratio)}", SNR_AXIS, PSNR.axis, curves))
    return panels


def _against_ratio(ours: Sequence[Entry], others: Sequence[PublishedPoint]) -> list[Panel]:
    panels = []
    for snr in sorted({p.snr_db for p in others}):
        at = [p for p in others if p.snr_db == snr]
        systems = Counter(p.ratio for p in at)
        shared = sorted(ratio for ratio, count in systems.items() if count > 1)
        here = [e for e in ours if e.record.snr_db == snr and e.ratio in systems]
        if len(shared) < 2 and not here:
            continue
        curves = [
            *learned_curves(here, PSNR, lambda e: float(e.ratio)),
            *_curves(at, others, lambda p: float(p.ratio)),
        ]
        named = shared if len(shared) > 1 else sorted(systems)
        ticks = [(float(ratio), ratio_text(ratio)) for ratio in named]
        panels.append(Panel(snr_text(snr), "bandwidth ratio", PSNR.axis, curves, ticks))
    return panels


def _curves(
    at: Sequence[PublishedPoint],
    others: Sequence[PublishedPoint],
    x: Callable[[PublishedPoint], float],
) -> list[Curve]:
    """Build one thin grey curve a system; its marker is the same in all panels."""
    schemes = sorted({point.scheme for point in others})
    curves = []
    for number, scheme in enumerate(schemes):
        points = [Point(x(p), p.psnr_db) for p in at if p.scheme == scheme]
        style = {
            "color": "0.6",
            "linewidth": 0.6,
            "markersize": 4,
            "marker": _MARKERS[number % len(_MARKERS)],
            "markerfacecolor": "none",
        }
        if points:
            curves.append(Curve(f"{scheme} (published)", points, style))
    return curves
