# SPDX-License-Identifier: Apache-2.0
"""The result files of a folder and their records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from genjscc.errors import InvalidInputError
from genjscc.evaluation.receiver_time import TimedRecord
from genjscc.evaluation.records import Difference, InversionRecord, Record, ResultFile
from genjscc.evaluation.separation.records import SeparationRecord
from genjscc.quality.statistics import Mean
from genjscc.report.files import read_result_file


@dataclass(frozen=True)
class Source:
    """A result file."""

    name: str
    results: ResultFile


@dataclass(frozen=True)
class Entry:
    """A record with its file."""

    record: Record
    source: Source

    @property
    def ratio(self) -> Fraction:
        """Bandwidth ratio."""
        return Fraction(self.record.bandwidth_ratio)


@dataclass(frozen=True)
class Sources:
    """The contents of a folder of results.

    Attributes:
        files: readable files, sorted by name.
        skipped: names of unreadable files, with the reason.
    """

    files: Sequence[Source]
    skipped: Sequence[tuple[str, str]]

    @property
    def entries(self) -> list[Entry]:
        """Quality records; of duplicates, the one in the first file by name."""
        found: dict[tuple[object, ...], Entry] = {}
        for source in self.files:
            for record in source.results.records:
                if not isinstance(record, TimedRecord):
                    found.setdefault(_subject(record), Entry(record, source))
        return list(found.values())

    @property
    def timed(self) -> list[Entry]:
        """Records with the receiver's decoding time."""
        return [
            Entry(record, source)
            for source in self.files
            for record in source.results.records
            if isinstance(record, TimedRecord)
        ]

    @property
    def differences(self) -> list[tuple[Difference, Source]]:
        """Paired differences of schemes."""
        return [(one, source) for source in self.files for one in source.results.differences]

    @property
    def inversions(self) -> list[tuple[InversionRecord, Source]]:
        """Inversions by generators, without a channel."""
        return [(record, source) for source in self.files for record in source.results.inversions]


def read_folder(folder: Path) -> Sources:
    """Read *.json of a folder; files of another kind are listed as skipped.

    Benchmark results (bench_*.json) have their own page and are ignored.

    Raises:
        InvalidInputError: the folder does not exist.
    """
    if not folder.is_dir():
        raise InvalidInputError("results", f"{folder} is not a folder")
    files, skipped = [], []
    for path in sorted(folder.glob("*.json")):
        if path.name.startswith("bench_"):
            continue
        try:
            results = read_result_file(path)
        except InvalidInputError as error:
            skipped.append((path.name, str(error)))
            continue
        files.append(Source(path.name, results))
    return Sources(files, skipped)


def _subject(record: Record) -> tuple[object, ...]:
    """Return the identity of a measurement, without its outcome."""
    own: tuple[object, ...] = ()
    if isinstance(record, SeparationRecord):
        own = (record.codec, record.headers, record.channel_code)
    return (
        *(record.scheme, record.bundle, record.pair_id, record.dataset, record.split, record.n),
        *(record.image_size, record.bandwidth_ratio, record.channel),
        *(record.snr_db, record.told_snr_db, record.seed, str(record.inversion)),
        *(record.snr, str(record.ofdm)),
        *own,
    )


@dataclass(frozen=True)
class Metric:
    """Presentation of a record's field."""

    field: str
    title: str
    digits: int
    rises: bool
    """whether higher is better"""

    @property
    def axis(self) -> str:
        """Axis label with the direction."""
        return self.title if self.rises else f"{self.title}, lower is better"

    def value(self, record: Record) -> float | None:
        """Return the mean, or None if it was not measured."""
        found = getattr(record, self.field)
        return found.mean if isinstance(found, Mean) else found

    def interval(self, record: Record) -> float:
        """Return the half-width of the 95 % interval; 0 for set distances, which have none."""
        found = getattr(record, self.field)
        return found.ci95 if isinstance(found, Mean) else 0.0

    def text(self, record: Record) -> str:
        """Format the mean with its interval, or a dash."""
        value = self.value(record)
        if value is None:
            return "-"
        half = self.interval(record)
        text = f"{value:.{self.digits}f}"
        return f"{text} ± {half:.{self.digits}f}" if half else text


PSNR = Metric("psnr_db", "PSNR / dB", 2, rises=True)
MS_SSIM = Metric("ms_ssim", "MS-SSIM", 3, rises=True)
# The paper's metric first.
PERCEPTUAL = (
    Metric("lpips_vgg", "LPIPS (VGG)", 3, rises=False),
    Metric("lpips_alex", "LPIPS (Alex)", 3, rises=False),
    Metric("lpips_squeeze", "LPIPS (Squeeze)", 3, rises=False),
    Metric("st_lpips_vgg", "ST-LPIPS (VGG)", 3, rises=False),
    Metric("st_lpips_alex", "ST-LPIPS (Alex)", 3, rises=False),
)
SETS = (
    Metric("fd_efflite0", "FD-EffLite0", 1, rises=False),
    Metric("fid", "FID", 1, rises=False),
)
METRICS = (PSNR, MS_SSIM, *PERCEPTUAL, *SETS)


def perceptual_of(entries: Iterable[Entry]) -> Metric | None:
    """Return the perceptual distance that most entries have; on a tie LPIPS before ST-LPIPS."""
    records = [entry.record for entry in entries]
    counts = {m: sum(m.value(record) is not None for record in records) for m in PERCEPTUAL}
    best = max(PERCEPTUAL, key=counts.__getitem__)
    return best if counts[best] else None


def measured(metrics: Iterable[Metric], entries: Sequence[Entry]) -> list[Metric]:
    """Return the metrics that at least one entry has."""
    return [m for m in metrics if any(m.value(entry.record) is not None for entry in entries)]
