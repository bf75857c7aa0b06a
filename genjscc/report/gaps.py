# SPDX-License-Identifier: Apache-2.0
"""Missing results and the commands that produce them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from genjscc.evaluation.separation.records import SeparationRecord
from genjscc.report.book import Book
from genjscc.report.selection import is_learned
from genjscc.report.sources import Sources
from genjscc.report.summary import Bundle

_PAPER_RATIOS = ("1/768", "1/192", "1/48")
_PAPER_SNRS = tuple(float(snr) for snr in range(-5, 6))


@dataclass(frozen=True)
class Expected:
    """A set of results that the page should show."""

    title: str
    gap: Callable[[Sources], str]
    """missing points as text; '' if complete"""
    command: str


def missing(
    book: Book, sources: Sources, bundles: Mapping[str, Bundle], *, with_pictures: bool
) -> None:
    """List missing results with the commands that produce them, and inconsistent ones."""
    book.heading("Missing results")
    rows = [
        [expected.title, gap, f"`{expected.command}`"]
        for expected in EXPECTED
        if (gap := expected.gap(sources))
    ]
    if not with_pictures:
        rows.append(["Pictures", "everything", "`genjscc compare --output PICTURE --model NAME`"])
    if rows:
        book.table(["", "missing", "command"], rows)
    else:
        book.text("None.")
    stale = {
        (entry.record.bundle, entry.source.name)
        for entry in (*sources.entries, *sources.timed)
        if entry.record.bundle in bundles
        and entry.record.pair_id != bundles[str(entry.record.bundle)].pair_id
    }
    for bundle, name in sorted(stale, key=str):
        book.text(
            f"**{name}** was measured with other weights of `{bundle}` than the current ones."
        )
    if sources.skipped:
        book.text("Skipped, because these are not files of quality records:")
        book.text("\n".join(f"* {name}: {reason}" for name, reason in sources.skipped))


def files(book: Book, sources: Sources) -> None:
    """List the result files with their contents."""
    book.heading("Result files")
    book.text("`make results` reruns these commands.")
    rows = []
    for source in sources.files:
        results = source.results
        count = len(results.records) + len(results.inversions)
        rows.append([source.name, str(count), results.commit, f"`{results.command}`"])
    book.table(["", "records", "commit", "command"], rows)


def _cells(
    scheme: str, dataset: str, ratios: Sequence[str], snrs: Sequence[float] = _PAPER_SNRS
) -> Callable[[Sources], str]:
    def gap(sources: Sources) -> str:
        present = {
            (entry.ratio, entry.record.snr_db)
            for entry in sources.entries
            if entry.record.scheme == scheme
            and entry.record.dataset == dataset
            and entry.record.channel == "awgn"
            and entry.record.told_snr_db is None
            and entry.record.snr == "known"
        }
        absent = [(r, s) for r in ratios for s in snrs if (Fraction(r), s) not in present]
        if not absent:
            return ""
        if len(absent) == len(ratios) * len(snrs):
            return "everything"
        by_ratio = {r: [f"{s:+g}" for q, s in absent if q == r] for r, _ in absent}
        return "; ".join(f"{r} at {', '.join(at)} dB" for r, at in by_ratio.items())

    return gap


def _any(found: Callable[[Sources], object]) -> Callable[[Sources], str]:
    return lambda sources: "" if found(sources) else "everything"


_FACES, _NATURAL, _KODAK = "data/faces64", "data/natural64", "data/kodak"
_HIGH_RATIOS = ("1/48", "1/12")

EXPECTED: tuple[Expected, ...] = (
    Expected(
        "DeepJSCC, faces64",
        _cells("deepjscc", "faces64", _PAPER_RATIOS),
        f"genjscc evaluate {_FACES}/test results/deepjscc_faces64.json --model faces64",
    ),
    Expected(
        "DeepJSCC, natural64",
        _cells("deepjscc", "natural64", _PAPER_RATIOS),
        f"genjscc evaluate {_NATURAL}/test results/deepjscc_natural64.json --model natural64",
    ),
    Expected(
        "DeepJSCC, Kodak at full size",
        _cells("deepjscc", "kodak", ("1/48",)),
        f"genjscc evaluate {_KODAK} results/deepjscc_kodak.json --model natural64 "
        "--dataset kodak --split test",
    ),
    Expected(
        "Linear baseline, faces64",
        _cells("linear", "faces64", _PAPER_RATIOS),
        f"genjscc evaluate {_FACES}/test results/deepjscc_faces64.json --linear {_FACES}/train",
    ),
    Expected(
        "Separation, faces64",
        _cells("separation", "faces64", (*_PAPER_RATIOS, "1/12")),
        f"genjscc baseline {_FACES}/test results/separation_faces64.json --training {_FACES}/train",
    ),
    Expected(
        "Separation, Kodak",
        _cells("separation", "kodak", _HIGH_RATIOS),
        f"genjscc baseline {_KODAK} results/separation_kodak.json --training {_NATURAL}/train "
        "--rate 1/48 --rate 1/12 --dataset kodak --split test",
    ),
    Expected(
        "GenerativeJSCC, faces64",
        _cells("generative", "faces64", _PAPER_RATIOS),
        f"genjscc evaluate {_FACES}/test results/generative_faces64.json --scheme generative",
    ),
    Expected(
        "InverseJSCC, faces64",
        _cells("inverse", "faces64", ("1/768", "1/192")),
        f"genjscc evaluate {_FACES}/test results/inverse_faces64.json --scheme inverse --num 128",
    ),
    Expected(
        "SNR mismatch",
        _any(lambda s: any(e.record.told_snr_db is not None for e in s.entries)),
        f"genjscc evaluate {_FACES}/test results/mismatch_faces64.json --told-snr-db=-5,0,5",
    ),
    Expected(
        "Rayleigh fading, DeepJSCC",
        _any(lambda s: any(e.record.channel != "awgn" and is_learned(e) for e in s.entries)),
        f"genjscc evaluate {_FACES}/test results/fading_faces64.json --model faces64 "
        "--noise rayleigh",
    ),
    Expected(
        "Rayleigh fading, separation",
        _any(
            lambda s: any(
                e.record.channel != "awgn" and isinstance(e.record, SeparationRecord)
                for e in s.entries
            )
        ),
        f"genjscc baseline {_FACES}/test results/separation_faces64_rayleigh.json "
        f"--training {_FACES}/train --channel rayleigh",
    ),
    Expected(
        "Receiver time",
        _any(lambda s: s.timed),
        f"genjscc receiver-time {_FACES}/test results/receiver_time.json --model faces64",
    ),
    Expected(
        "Reconstruction limits of the generator",
        _any(lambda s: s.inversions),
        f"genjscc invert models/GENERATOR {_FACES}/test results/inversion.json",
    ),
)
