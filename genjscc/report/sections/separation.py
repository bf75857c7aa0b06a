# SPDX-License-Identifier: Apache-2.0
"""Section on the separation baseline by codec and channel code, outages first."""

from __future__ import annotations

from collections.abc import Sequence

from genjscc.evaluation.separation.records import SeparationRecord
from genjscc.report.book import NOTHING, Book
from genjscc.report.curves import SNR_AXIS, codec_curves
from genjscc.report.plots import Panel
from genjscc.report.selection import (
    Shown,
    by_subject,
    comparable,
    family_name,
    ratio_text,
    snr_text,
)
from genjscc.report.sources import PSNR, Entry, Metric

_OUTAGE = Metric("outage", "outage rate", 3, rises=False)
_SHARES = (-0.03, 1.03)
_FAMILIES = [("capacity", False), ("capacity", True), ("ldpc", False), ("ldpc", True)]


def separation(book: Book, shown: Shown) -> None:
    """Plot every codec and channel code, with their outage rates."""
    book.heading("Separate source and channel coding")
    book.text(
        "For each image the best file within the channel's byte budget is sent, down-scaled if "
        "that helps. *At capacity*: k log2(1 + SNR) bits are received without error, which no code "
        "of this length achieves. *5G LDPC*: the bits that Sionna's decoder recovers, with the "
        "best of BPSK, 4-, 16- and 64-QAM and of the code rates 1/5 to 2/3 at each point. "
        "*Headers free*: only the bytes of the entropy coder count, as if codec, tables and size "
        "were known beforehand; *counted*: the whole file without parts that no decoder needs. "
        "If no file fits or decoding fails, the image is an **outage**, replaced by the mean "
        "colour of training images. In all figures a cross marks points at which at least half "
        "of the images are outages."
    )
    found = False
    for subject, entries in by_subject(shown.main).items():
        chosen = comparable([e for e in entries if isinstance(e.record, SeparationRecord)])
        if not chosen:
            continue
        found = True
        ratios = sorted({entry.ratio for entry in chosen})
        book.heading(subject.title, 3)
        for metric, name in ((_OUTAGE, "outage"), (PSNR, "codecs")):
            panels = [
                Panel(
                    f"rho = {ratio_text(ratio)}, {family_name(code, headers)}",
                    SNR_AXIS,
                    metric.axis,
                    codec_curves([e for e in chosen if e.ratio == ratio], metric, code, headers),
                    y_limits=_SHARES if metric is _OUTAGE else None,
                )
                for ratio in ratios
                for code, headers in _FAMILIES
            ]
            book.figure(
                f"separation_{name}_{subject.slug}",
                panels,
                f"{metric.title}.",
                chosen,
                columns=len(_FAMILIES),
            )
        _outages(book, chosen)
        notes = {entry.source.name: entry.source.results.notes for entry in chosen}
        book.text("\n".join(f"* {name}: {text}" for name, text in notes.items()))
    if not found:
        book.text(NOTHING)


def _outages(book: Book, entries: Sequence[Entry]) -> None:
    """List the lowest outage rate of all codecs, with its codec."""
    snrs = sorted({entry.record.snr_db for entry in entries})
    rows = []
    for code, headers in _FAMILIES:
        for ratio in sorted({entry.ratio for entry in entries}):
            cells = []
            for snr in snrs:
                rates = [
                    (entry.record.outage.mean, entry.record.codec)
                    for entry in entries
                    if isinstance(entry.record, SeparationRecord)
                    and (entry.record.channel_code, entry.record.headers) == (code, headers)
                    and (entry.ratio, entry.record.snr_db) == (ratio, snr)
                ]
                lowest = min(rates, default=None)
                cells.append("-" if lowest is None else _rate(*lowest))
            if any(cell != "-" for cell in cells):
                rows.append([f"{family_name(code, headers)}, rho = {ratio_text(ratio)}", *cells])
    book.text("Outage rate of the codec with the fewest outages:")
    book.table(["", *map(snr_text, snrs)], rows)


def _rate(rate: float, codec: str) -> str:
    if rate == 1:
        return "100 %"
    return f"{100 * rate:.1f} % ({codec})"
