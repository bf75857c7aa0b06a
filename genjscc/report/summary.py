# SPDX-License-Identifier: Apache-2.0
"""Summary section: best scheme per operating point, and costs."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from genjscc.conventions import bits_per_symbol
from genjscc.evaluation.receiver_time import TimedRecord
from genjscc.evaluation.separation.records import SeparationRecord
from genjscc.report.book import Book
from genjscc.report.selection import (
    SCHEME_NAMES,
    Shown,
    by_subject,
    comparable,
    inversion_text,
    is_learned,
    name_of,
    ratio_text,
    snr_text,
    three_snrs,
)
from genjscc.report.sources import PSNR, Entry, Metric, Sources, perceptual_of


def which_scheme(book: Book, shown: Shown) -> None:
    """List the best scheme at each SNR and rate, by the perceptual distance and by PSNR."""
    for subject, entries in by_subject(shown.main).items():
        chosen = comparable(entries)
        perceptual = perceptual_of([e for e in chosen if is_learned(e)] or chosen)
        for metric in (perceptual, PSNR):
            if metric is None:
                continue
            direction = "highest" if metric.rises else "lowest"
            book.text(f"**{subject.title}: the {direction} {metric.title}**")
            snrs = three_snrs(chosen)
            book.table(
                ["rho", "k", "bytes at capacity", *map(snr_text, snrs)],
                list(_rows(chosen, metric, snrs)),
            )
    book.text(
        "The best of the learned schemes, each with its best model, and the linear baseline; in "
        "brackets the best separate codec at capacity with headers counted, and its outage rate. "
        "The figures below show intervals, all SNRs and all baselines."
    )


def _rows(
    entries: Sequence[Entry], metric: Metric, snrs: Sequence[float]
) -> Iterable[Sequence[str]]:
    for ratio in sorted({entry.ratio for entry in entries}):
        here = [entry for entry in entries if entry.ratio == ratio]
        k = next((entry.record.k for entry in here if entry.record.k), None)
        carried = ", ".join(f"{k * bits_per_symbol(snr) / 8:.0f}" for snr in snrs) if k else "-"
        cells = [_winner([e for e in here if e.record.snr_db == snr], metric) for snr in snrs]
        yield [ratio_text(ratio), "-" if k is None else str(k), carried, *cells]


def _winner(entries: Sequence[Entry], metric: Metric) -> str:
    separate = [entry for entry in entries if _is_counted_at_capacity(entry)]
    others = [e for e in entries if not isinstance(e.record, SeparationRecord)]
    best, codec = _best(others, metric), _best(separate, metric)
    parts = []
    if best is not None:
        parts.append(f"**{name_of(best)}** {metric.text(best.record)}")
    if codec is not None and isinstance(codec.record, SeparationRecord):
        outage = codec.record.outage.mean
        name = "every codec: 100 % outage" if outage == 1 else codec.record.codec
        lost = f", {100 * outage:.0f} % outage" if 0 < outage < 1 else ""
        value = f"{metric.value(codec.record):.{metric.digits}f}"
        parts.append(f"({name}{lost}: {value})")
    return " ".join(parts) or "-"


def _best(entries: Iterable[Entry], metric: Metric) -> Entry | None:
    valued = [(metric.value(entry.record), entry) for entry in entries]
    known = [(value if metric.rises else -value, e) for value, e in valued if value is not None]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def _is_counted_at_capacity(entry: Entry) -> bool:
    record = entry.record
    return (
        isinstance(record, SeparationRecord)
        and record.headers
        and record.channel_code == "capacity"
    )


@dataclass(frozen=True)
class Bundle:
    """Size of a shipped model.

    Attributes:
        pair_id: digest of its weights.
        parameters: number of parameters by file.
        megabytes: size of all weight files.
    """

    pair_id: str
    parameters: Mapping[str, int]
    megabytes: float


def read_bundles(folder: Path) -> dict[str, Bundle]:
    """Read the pairs below a folder without their weights; none if it does not exist."""
    found = {}
    for declaration in sorted(folder.glob("*/config.json")):
        content = json.loads(declaration.read_text(encoding="utf-8"))
        if "pair_id" not in content:
            continue  # a generator
        files = sorted(declaration.parent.glob("*.safetensors"))
        found[declaration.parent.name] = Bundle(
            content["pair_id"],
            {path.stem: _count_parameters(path) for path in files},
            sum(path.stat().st_size for path in files) / 1e6,
        )
    return found


def _count_parameters(path: Path) -> int:
    """Count the parameters by the header of a safetensors file."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    total = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            size = 1
            for side in tensor["shape"]:
                size *= side
            total += size
    return total


def costs(book: Book, sources: Sources, bundles: Mapping[str, Bundle]) -> None:
    """List each scheme's costs: parameters, disk space, time at the receiver."""
    book.heading("Costs", 3)
    measured = [entry for entry in sources.entries if is_learned(entry)]
    kinds = dict.fromkeys((entry.record.scheme, entry.record.bundle) for entry in measured)
    rows = []
    for scheme, name in sorted(kinds, key=str):
        bundle = bundles.get(str(name))
        times = [
            f"{1e3 * r.receiver_seconds.mean:.0f} ms {inversion_text(r)}".strip()
            for r in (entry.record for entry in sources.timed)
            if isinstance(r, TimedRecord) and (r.scheme, r.bundle) == (scheme, name)
        ]
        if bundle is None:
            continue
        rows.append(
            [
                f"{SCHEME_NAMES[scheme]} ({name})",
                " + ".join(
                    f"{count / 1e6:.2f} M ({part})" for part, count in bundle.parameters.items()
                ),
                f"{bundle.megabytes:.1f} MB",
                "; ".join(dict.fromkeys(times)) or "not measured",
            ]
        )
    if rows:
        head = ["", "parameters", "on disk", "receiver, one image, this processor"]
        book.table(head, rows)
    else:
        book.text("None of the measured models is shipped.")
    book.text(
        "InverseJSCC also needs the pair's encoder and a generator at the receiver. The linear "
        "baseline needs the principal components of training images at both ends, the separation "
        "baseline a codec and a channel code; neither learns anything else."
    )
