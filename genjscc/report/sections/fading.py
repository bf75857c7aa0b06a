# SPDX-License-Identifier: Apache-2.0
"""Section on quality under fading."""

from __future__ import annotations

from genjscc.report.book import NOTHING, Book, caption_of
from genjscc.report.curves import against_snr
from genjscc.report.selection import FADING, Shown, by_subject, comparable
from genjscc.report.sources import PSNR, perceptual_of


def fading(book: Book, shown: Shown) -> None:
    """Plot quality over channels with block fading."""
    book.heading("Rayleigh fading")
    faded = [
        e
        for e in shown.others
        if e.record.channel == FADING and e.record.told_snr_db is None and e.record.snr == "known"
    ]
    if not faded:
        book.text(NOTHING)
        return
    book.text(
        "One gain per image, known to the receiver but not to the transmitter; the SNR is the "
        "average SNR. The separation baselines choose the rate with the best mean PSNR and lose "
        "the images whose gain does not support it."
    )
    for subject, entries in by_subject(faded).items():
        chosen = comparable(entries)
        perceptual = perceptual_of(chosen)
        metrics = [metric for metric in (perceptual, PSNR) if metric]
        book.heading(subject.title, 3)
        panels = against_snr(chosen, metrics)
        book.figure(
            f"fading_{subject.slug}", panels, caption_of(metrics), chosen, columns=len(metrics)
        )
