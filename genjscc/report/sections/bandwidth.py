# SPDX-License-Identifier: Apache-2.0
"""Section on quality against the bandwidth ratio."""

from __future__ import annotations

from itertools import product

from genjscc.report.book import NOTHING, Book, caption_of
from genjscc.report.curves import baseline_curves, learned_curves
from genjscc.report.plots import Panel
from genjscc.report.selection import (
    Shown,
    by_subject,
    comparable,
    is_learned,
    ratio_text,
    snr_text,
    three_snrs,
)
from genjscc.report.sources import PSNR, perceptual_of


def bandwidth(book: Book, shown: Shown) -> None:
    """Plot quality against the bandwidth ratio at the lowest, middle and highest SNR."""
    book.heading("Quality against bandwidth ratio")
    if not shown.main:
        book.text(NOTHING)
    for subject, entries in by_subject(shown.main).items():
        chosen = comparable(entries)
        ratios = sorted({entry.ratio for entry in chosen})
        if len(ratios) < 2:
            continue
        learned = [entry for entry in chosen if is_learned(entry)]
        perceptual = perceptual_of(learned or chosen)
        metrics = [metric for metric in (perceptual, PSNR) if metric]
        ticks = [(float(ratio), ratio_text(ratio)) for ratio in ratios]
        panels = []
        for metric, snr in product(metrics, three_snrs(chosen)):
            at = [entry for entry in chosen if entry.record.snr_db == snr]
            curves = [
                *learned_curves(at, metric, lambda e: float(e.ratio)),
                *baseline_curves(at, metric, lambda e: float(e.ratio)),
            ]
            panels.append(Panel(snr_text(snr), "bandwidth ratio", metric.axis, curves, ticks))
        book.heading(subject.title, 3)
        book.figure(f"ratio_{subject.slug}", panels, caption_of(metrics), chosen)
