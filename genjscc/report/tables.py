# SPDX-License-Identifier: Apache-2.0
"""Tables of the report: differences, reconstruction limits, models that are not shipped."""

from __future__ import annotations

from collections.abc import Sequence

from genjscc.evaluation.separation.records import SeparationRecord
from genjscc.report.book import Book
from genjscc.report.selection import (
    AWGN,
    SCHEME_NAMES,
    Shown,
    by_subject,
    name_of,
    snr_text,
)
from genjscc.report.sources import (
    METRICS,
    MS_SSIM,
    PERCEPTUAL,
    PSNR,
    SETS,
    Entry,
    Metric,
    Sources,
    measured,
)


def ceilings(book: Book, sources: Sources) -> None:
    """List the reconstruction limits of generators, without a channel."""
    if not sources.inversions:
        return
    book.heading("Reconstruction limits of the generators")
    book.text("Latents and noise maps are fitted to the image itself, without a channel.")
    book.table(
        ["generator", "data", "n", "steps", "PSNR / dB", "ST-LPIPS (VGG)", "ST-LPIPS (Alex)"],
        [
            [
                record.generator,
                f"{record.dataset} {record.split} ({record.image_size})",
                str(record.n),
                str(record.steps),
                *(
                    f"{value.mean:.3f} ± {value.ci95:.3f}"
                    for value in (record.psnr_db, record.st_lpips_vgg, record.st_lpips_alex)
                ),
            ]
            for record, _ in sources.inversions
        ],
    )
    book.commands(source for _, source in sources.inversions)


def differences(book: Book, sources: Sources) -> None:
    """List paired differences of schemes on the same images, with their intervals."""
    if not sources.differences:
        return
    book.heading("Paired differences between schemes")
    book.text(
        "Mean of the differences over the same images with the same noise, with its 95 % "
        "interval; **bold** if the interval excludes 0."
    )
    names = list(dict.fromkeys(m for one, _ in sources.differences for m in one.means))
    rows = []
    for one, _ in sources.differences:
        first = f"{SCHEME_NAMES[one.scheme]} ({one.bundle})"
        second = f"{SCHEME_NAMES[one.against_scheme]} ({one.against_bundle})"
        cells = []
        for name in names:
            value = one.means.get(name)
            text = "-" if value is None else f"{value.mean:+.3f} ± {value.ci95:.3f}"
            sure = value is not None and abs(value.mean) > value.ci95
            cells.append(f"**{text}**" if sure else text)
        assumed = "" if one.told_snr_db is None else f", assumed {snr_text(one.told_snr_db)}"
        snr = f"{snr_text(one.snr_db)}{assumed}"
        rows.append([f"{first} minus {second}", one.bandwidth_ratio, snr, *cells])
    book.table(["", "rho", "SNR", *(title_of(name) for name in names)], rows)
    book.commands(source for _, source in sources.differences)


def values(
    book: Book, entries: Sequence[Entry], metrics: Sequence[Metric], summary: str = "Values"
) -> None:
    """List the values of a figure."""
    ordered = sorted(
        (entry for entry in entries if not isinstance(entry.record, SeparationRecord)),
        key=lambda e: (e.ratio, name_of(e), e.record.snr_db),
    )
    book.folded(
        summary,
        ["", "rho", "SNR / dB", "n", *(metric.title for metric in metrics)],
        [
            [
                name_of(entry),
                entry.record.bandwidth_ratio,
                f"{entry.record.snr_db:+g}",
                str(entry.record.n),
                *(metric.text(entry.record) for metric in metrics),
            ]
            for entry in ordered
        ],
    )


def title_of(field: str) -> str:
    """Return the title of a record's field."""
    known = {metric.field: metric.title for metric in METRICS}
    return known.get(field, field)


def remaining(book: Book, shown: Shown) -> None:
    """List values of models that are not shipped."""
    rest = [
        entry
        for entry in shown.others
        if entry.record.channel == AWGN
        and entry.record.told_snr_db is None
        and entry.record.snr == "known"
    ]
    if not rest:
        return
    book.heading("Other measured models")
    book.text("Ablations and models that are not shipped.")
    for subject, entries in by_subject(rest).items():
        metrics = measured((*PERCEPTUAL, MS_SSIM, PSNR, *SETS), entries)
        values(book, entries, metrics, summary=subject.title)
        book.commands(entry.source for entry in entries)
