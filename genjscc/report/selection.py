# SPDX-License-Identifier: Apache-2.0
"""Selection, grouping and labels of records."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from genjscc.evaluation.records import Record
from genjscc.evaluation.separation.records import SeparationRecord
from genjscc.report.sources import Entry, Sources

SCHEME_NAMES = {
    "deepjscc": "DeepJSCC",
    "inverse": "InverseJSCC",
    "generative": "GenerativeJSCC",
    "linear": "linear (KLT)",
    "separation": "separation",
}
LEARNED = frozenset({"deepjscc", "inverse", "generative"})
AWGN = "awgn"
FADING = "fading"


@dataclass(frozen=True, order=True)
class Subject:
    """The set of images that was sent."""

    dataset: str
    split: str
    image_size: str

    @property
    def title(self) -> str:
        """Title in text."""
        pixels = "pixels" if self.image_size != "mixed" else "sizes"
        return f"{self.dataset} {self.split}, {self.image_size} {pixels}"

    @property
    def slug(self) -> str:
        """Name in file names."""
        text = f"{self.dataset}_{self.split}_{self.image_size}".lower()
        return re.sub(r"[^a-z0-9_]+", "-", text)


def by_subject(entries: Iterable[Entry]) -> dict[Subject, list[Entry]]:
    """Group entries by their images, sorted by name."""
    found: dict[Subject, list[Entry]] = {}
    for entry in entries:
        record = entry.record
        subject = Subject(record.dataset, record.split, record.image_size)
        found.setdefault(subject, []).append(entry)
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class Shown:
    """Records of the main figures (shipped models and baselines, AWGN, true SNR) and others."""

    main: Sequence[Entry]
    others: Sequence[Entry]


def split_entries(sources: Sources, shipped: Iterable[str]) -> Shown:
    """Keep records of models that are not shipped (ablations) out of the main figures.

    If no record is of a shipped model, all are kept in.
    """
    names = set(shipped)
    entries = sources.entries
    if not any(entry.record.bundle in names for entry in entries if is_learned(entry)):
        names = {entry.record.bundle for entry in entries if entry.record.bundle}
    main: list[Entry] = []
    others: list[Entry] = []
    for entry in entries:
        record = entry.record
        usual = record.channel == AWGN and record.told_snr_db is None and record.snr == "known"
        known = record.bundle is None or record.bundle in names
        (main if usual and known else others).append(entry)
    return Shown(main, others)


def comparable(entries: Sequence[Entry], like: str | None = None) -> list[Entry]:
    """Keep one number of images and one seed of each scheme, model, ratio and channel.

    If a scheme was measured on several subsets, that of the scheme `like` is kept, else the one
    shared by most schemes, so that curves are over the same images if possible.
    """
    shared: dict[tuple[int, int], set[str]] = {}
    for entry in entries:
        record = entry.record
        shared.setdefault((record.n, record.seed), set()).add(record.scheme)

    def rank(subset: tuple[int, int]) -> tuple[bool, int, int]:
        return like in shared[subset], len(shared[subset]), subset[0]

    chosen: dict[tuple[object, ...], tuple[int, int]] = {}
    for entry in entries:
        key, subset = _series(entry), (entry.record.n, entry.record.seed)
        if key not in chosen or rank(subset) > rank(chosen[key]):
            chosen[key] = subset
    return [e for e in entries if chosen[_series(e)] == (e.record.n, e.record.seed)]


def _series(entry: Entry) -> tuple[object, ...]:
    record = entry.record
    return (record.scheme, record.bandwidth_ratio, record.channel, name_of(entry))


def name_of(entry: Entry) -> str:
    """Return the label of a record: scheme and model, or codec and channel code."""
    record = entry.record
    if isinstance(record, SeparationRecord):
        return f"{record.codec}, {family_name(record.channel_code, record.headers)}"
    name = SCHEME_NAMES[record.scheme]
    details = ", ".join(filter(None, [record.bundle, inversion_text(record)]))
    return f"{name} ({details})" if details else name


def inversion_text(record: Record) -> str:
    """Return the inversion options, such as 'preset=fast'; empty for the default."""
    return ", ".join(f"{name}={value}" for name, value in (record.inversion or {}).items())


def family_name(channel_code: str, headers: bool) -> str:
    """Return the label of the separation baselines with one channel code."""
    code = {"capacity": "at capacity", "ldpc": "5G LDPC"}[channel_code]
    return f"{code}, headers {'counted' if headers else 'free'}"


def snr_text(snr_db: float) -> str:
    """Format an SNR with its sign."""
    return f"{snr_db:+g} dB" if snr_db else "0 dB"


def is_learned(entry: Entry) -> bool:
    """Return whether a trained model was measured."""
    return entry.record.scheme in LEARNED


def ratio_text(ratio: Fraction) -> str:
    """Format a bandwidth ratio, such as "1/48"."""
    return f"{ratio.numerator}/{ratio.denominator}"


def three_snrs(entries: Iterable[Entry]) -> list[float]:
    """Return the lowest, the middle and the highest of the SNRs that most series share.

    An SNR counts if it has at least half as many series as the one with the most.
    """
    series: defaultdict[float, set[tuple[object, ...]]] = defaultdict(set)
    for entry in entries:
        series[entry.record.snr_db].add(_series(entry))
    most = max(map(len, series.values()))
    snrs = sorted(snr for snr, found in series.items() if 2 * len(found) >= most)
    return list(dict.fromkeys([snrs[0], snrs[len(snrs) // 2], snrs[-1]]))
