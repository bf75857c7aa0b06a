# SPDX-License-Identifier: Apache-2.0
"""The figures of the page, each where there are records for it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from genjscc.evaluation.report.book import NOTHING, Book, caption_of
from genjscc.evaluation.report.curves import SNR_AXIS, baseline_curves, baselines_of, learned_curves
from genjscc.evaluation.report.plots import Curve, Panel, Point
from genjscc.evaluation.report.selection import (
    AWGN,
    Shown,
    by_subject,
    comparable,
    is_learned,
    ratio_text,
    snr_text,
    three_snrs,
)
from genjscc.evaluation.report.sources import (
    MS_SSIM,
    PSNR,
    Entry,
    Metric,
    perceptual_of,
)
from genjscc.evaluation.report.tables import values


def paper_figures(book: Book, shown: Shown) -> None:
    """The forms of the paper's Fig. 6 and Fig. 8, for each set of images."""
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
        caption = caption_of([perceptual], "The names in brackets are the pairs that were trained.")
        panels = against_snr(chosen, [perceptual])
        book.figure(f"fig6_{subject.slug}", panels, caption, chosen)
        values(book, chosen, [perceptual, PSNR])
    return found


def bandwidth(book: Book, shown: Shown) -> None:
    """Quality against the bandwidth ratio at the lowest, middle and highest SNR."""
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


def mismatch(book: Book, shown: Shown) -> None:
    """Networks that are told another SNR than the true one."""
    book.heading("When the told SNR is not the true one")
    told = [e for e in shown.others if e.record.told_snr_db is not None]
    if not told:
        book.text(NOTHING)
    for subject, entries in by_subject(told).items():
        perceptual = perceptual_of(entries)
        metrics = [metric for metric in (perceptual, PSNR) if metric]
        panels = []
        drawn = list(entries)
        for bundle in sorted({str(entry.record.bundle) for entry in entries}):
            for ratio in sorted({entry.ratio for entry in entries}):
                same = [e for e in entries if e.ratio == ratio and e.record.bundle == bundle]
                subset = {(e.record.n, e.record.seed) for e in same}
                truth = [
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
                drawn += [*truth, *fixed]
                for metric in metrics:
                    title = f"{bundle}, rho = {ratio_text(ratio)}"
                    curves = [*_told_curves(same, metric), *_truth(truth, metric)]
                    curves += baseline_curves(fixed, metric)
                    panels.append(Panel(title, SNR_AXIS, metric.axis, curves))
        book.heading(subject.title, 3)
        caption = caption_of(metrics, "One curve for each SNR that the networks were told.")
        book.figure(f"mismatch_{subject.slug}", panels, caption, drawn, columns=len(metrics))


def _told_curves(entries: Sequence[Entry], metric: Metric) -> list[Curve]:
    curves = []
    for number, told in enumerate(sorted({e.record.told_snr_db or 0.0 for e in entries})):
        points = [
            Point(e.record.snr_db, metric.value(e.record) or 0.0, metric.interval(e.record))
            for e in entries
            if e.record.told_snr_db == told
        ]
        curves.append(Curve(f"told {snr_text(told)}", points, {"color": f"C{number}"}))
    return curves


def _truth(entries: Sequence[Entry], metric: Metric) -> list[Curve]:
    points = [Point(e.record.snr_db, metric.value(e.record) or 0.0) for e in entries]
    style = {"color": "black", "linestyle": "--", "marker": ""}
    return [Curve("told the truth", points, style)] if points else []


def fading(book: Book, shown: Shown) -> None:
    """Channels other than AWGN."""
    book.heading("Rayleigh fading")
    faded = [e for e in shown.others if e.record.channel != AWGN and e.record.told_snr_db is None]
    if not faded:
        book.text(NOTHING)
        return
    book.text(
        "One gain for each image, known at the receiver and not at the transmitter; the SNR is "
        "the average one. The separation baselines choose the rate with the best mean PSNR and "
        "lose the images whose gain carries less."
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


def against_snr(entries: Sequence[Entry], metrics: Sequence[Metric]) -> list[Panel]:
    """One row of panels for each ratio, one column for each metric."""
    panels = []
    for ratio in sorted({entry.ratio for entry in entries}):
        here = [entry for entry in entries if entry.ratio == ratio]
        if not any(is_learned(entry) for entry in here) and any(map(is_learned, entries)):
            continue
        k = {entry.record.k for entry in here if entry.record.k}
        symbols = f", k = {k.pop()}" if len(k) == 1 else ""
        panels += [
            Panel(
                f"rho = {ratio_text(ratio)}{symbols}",
                SNR_AXIS,
                metric.axis,
                [*learned_curves(here, metric), *baseline_curves(here, metric)],
            )
            for metric in metrics
        ]
    return panels
