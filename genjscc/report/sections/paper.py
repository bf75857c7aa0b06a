# SPDX-License-Identifier: Apache-2.0
"""Section with figures in the form of the paper's Fig. 6 and Fig. 8."""

from __future__ import annotations

from genjscc.report.book import NOTHING, Book, caption_of
from genjscc.report.curves import against_snr
from genjscc.report.selection import Shown, by_subject, comparable, is_learned
from genjscc.report.sources import MS_SSIM, PSNR, perceptual_of
from genjscc.report.tables import values


def paper_figures(book: Book, shown: Shown) -> None:
    """Plot each set of images in the form of the paper's Fig. 6 and Fig. 8."""
    book.heading("DeepJSCC and InverseJSCC against SNR (the form of Fig. 6)")
    if not _figure_6(book, shown):
        book.text(NOTHING)
    book.heading("DeepJSCC and GenerativeJSCC against SNR (the form of Fig. 8)")
    if not any(e.record.scheme in ("deepjscc", "generative") for e in shown.main):
        book.text(NOTHING)
    for subject, entries in by_subject(shown.main).items():
        schemes = {"deepjscc", "generative", "linear", "separation"}
        chosen = comparable([e for e in entries if e.record.scheme in schemes])
        if not any(is_learned(entry) for entry in chosen):
            continue
        perceptual = perceptual_of(entry for entry in chosen if is_learned(entry))
        metrics = [metric for metric in (perceptual, MS_SSIM, PSNR) if metric]
        book.heading(subject.title, 3)
        caption = caption_of(
            metrics, "One row for each bandwidth ratio; scales differ between rows."
        )
        panels = against_snr(chosen, metrics)
        book.figure(f"fig8_{subject.slug}", panels, caption, chosen)
        values(book, chosen, metrics)


def _figure_6(book: Book, shown: Shown) -> bool:
    found = False
    for subject, entries in by_subject(shown.main).items():
        schemes = {"deepjscc", "inverse", "linear", "separation"}
        chosen = comparable([e for e in entries if e.record.scheme in schemes], like="inverse")
        inverted = {e.ratio for e in chosen if e.record.scheme == "inverse"}
        chosen = [entry for entry in chosen if entry.ratio in inverted]
        perceptual = perceptual_of(chosen)
        if not inverted or perceptual is None:
            continue
        found = True
        book.heading(subject.title, 3)
        caption = caption_of([perceptual], "The names in brackets are the trained pairs.")
        panels = against_snr(chosen, [perceptual])
        book.figure(f"fig6_{subject.slug}", panels, caption, chosen)
        values(book, chosen, [perceptual, PSNR])
    return found
