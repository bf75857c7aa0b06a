# SPDX-License-Identifier: Apache-2.0
"""Every curve of the result files as CSV or MATLAB file.

A curve is one metric of one scheme and model over SNR: the same images, noise seeds, bandwidth
ratio, channel and assumed SNR. The points of other publications are curves too.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from genjscc.errors import needs
from genjscc.report.published import read_published
from genjscc.report.selection import name_of, ratio_text
from genjscc.report.sources import METRICS, Entry, Metric, Sources

_COLUMNS = (
    *("curve", "label", "scheme", "model", "dataset", "split", "image_size", "n"),
    *("channel", "rho", "k", "told_snr_db", "seed", "metric", "snr_db", "value", "ci95", "source"),
)


@dataclass(frozen=True)
class ExportedCurve:
    """One curve with its conditions.

    Attributes:
        label: as in the report's legends.
        scheme, model: of the records; model is empty for baselines and publications.
        dataset, split, image_size, n: the images; n is 0 if unknown.
        channel: channel model.
        ratio: bandwidth ratio rho.
        k: complex symbols per image; None if sizes differ or it is unknown.
        told_snr_db: SNR assumed by the networks; None: the true one.
        seed: base noise seed; None if unknown.
        metric: field of the result files, such as psnr_db.
        points: SNR in dB, mean, half-width of the 95 % interval; ascending by SNR.
        source: result file and command, or the publication.
    """

    label: str
    scheme: str
    model: str
    dataset: str
    split: str
    image_size: str
    n: int
    channel: str
    ratio: Fraction
    k: int | None
    told_snr_db: float | None
    seed: int | None
    metric: str
    points: tuple[tuple[float, float, float], ...]
    source: str


def all_curves(sources: Sources, results: Path) -> list[ExportedCurve]:
    """Return every curve of a folder of results, sorted by data set, ratio, label and metric.

    Args:
        sources: the folder's result files.
        results: the folder, for its published points.

    Raises:
        InvalidInputError: a file of published points is not valid.
    """
    groups: dict[tuple[object, ...], list[Entry]] = {}
    for entry in sources.entries:
        record = entry.record
        assumed = record.told_snr_db
        key = (
            *(name_of(entry), record.pair_id, record.dataset, record.split, record.image_size),
            *(record.n, record.channel, entry.ratio, assumed, record.seed),
        )
        groups.setdefault(key, []).append(entry)
    curves = [
        curve
        for entries in groups.values()
        for metric in METRICS
        if (curve := _measured(entries, metric)) is not None
    ]
    curves += _published(results)
    return sorted(curves, key=lambda c: (c.dataset, c.split, c.ratio, c.label, c.metric, c.n))


def _measured(entries: Sequence[Entry], metric: Metric) -> ExportedCurve | None:
    points = []
    for entry in entries:
        value = metric.value(entry.record)
        if value is not None:
            points.append((entry.record.snr_db, value, metric.interval(entry.record)))
    if not points:
        return None
    first = entries[0].record
    files = {entry.source.name: entry.source.results.command for entry in entries}
    return ExportedCurve(
        label=name_of(entries[0]),
        scheme=first.scheme,
        model=first.bundle or "",
        dataset=first.dataset,
        split=first.split,
        image_size=first.image_size,
        n=first.n,
        channel=first.channel,
        ratio=entries[0].ratio,
        k=first.k,
        told_snr_db=first.told_snr_db,
        seed=first.seed,
        metric=metric.field,
        points=tuple(sorted(points)),
        source="; ".join(f"{name}: {command}" for name, command in files.items()),
    )


def _published(results: Path) -> list[ExportedCurve]:
    curves = []
    for dataset, points in read_published(results).items():
        groups: dict[tuple[str, str, Fraction, str], list[tuple[float, float, float]]] = {}
        for one in points:
            key = (one.scheme, one.channel, one.ratio, f"{one.source} ({one.kind})")
            groups.setdefault(key, []).append((one.snr_db, one.psnr_db, float("nan")))
        curves += [
            ExportedCurve(
                label=f"{scheme}, published",
                scheme=scheme,
                model="",
                dataset=dataset,
                split="",
                image_size="",
                n=0,
                channel=channel,
                ratio=ratio,
                k=None,
                told_snr_db=None,
                seed=None,
                metric="psnr_db",
                points=tuple(sorted(members)),
                source=source,
            )
            for (scheme, channel, ratio, source), members in groups.items()
        ]
    return curves


def write_csv(path: Path, curves: Iterable[ExportedCurve]) -> None:
    """Write one line for each point; empty fields are unknown."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for number, curve in enumerate(curves, 1):
            for snr_db, value, ci95 in curve.points:
                writer.writerow(
                    [
                        *(number, curve.label, curve.scheme, curve.model, curve.dataset),
                        *(curve.split, curve.image_size, curve.n or "", curve.channel),
                        *(ratio_text(curve.ratio), _or_empty(curve.k)),
                        *(_or_empty(curve.told_snr_db), _or_empty(curve.seed), curve.metric),
                        *(f"{snr_db:g}", value, "" if np.isnan(ci95) else ci95, curve.source),
                    ]
                )


def _or_empty(value: object) -> object:
    return "" if value is None else value


def write_mat(path: Path, curves: Sequence[ExportedCurve]) -> None:
    """Write a struct array `curves` of MATLAB 5; unknown numbers are NaN.

    In MATLAB: `c = curves(1); errorbar(c.snr_db, c.value, c.ci95)`.

    Raises:
        MissingExtraError: SciPy is not installed.
    """
    with needs("train", "--mat"):
        from scipy.io import savemat
    kinds = [(name, object) for name in _FIELDS]
    table = np.zeros((len(curves),), dtype=kinds)
    for row, curve in zip(table, curves, strict=True):
        for name, value in _struct(curve).items():
            row[name] = value
    savemat(path, {"curves": table}, do_compression=True, oned_as="row")


_FIELDS = (
    *("label", "scheme", "model", "dataset", "split", "image_size", "n", "channel", "rho"),
    *("rho_text", "k", "told_snr_db", "seed", "metric", "snr_db", "value", "ci95", "source"),
)


def _struct(curve: ExportedCurve) -> dict[str, object]:
    points = np.array(curve.points, dtype=np.float64).reshape(-1, 3)
    return {
        "label": curve.label,
        "scheme": curve.scheme,
        "model": curve.model,
        "dataset": curve.dataset,
        "split": curve.split,
        "image_size": curve.image_size,
        "n": float(curve.n or np.nan),
        "channel": curve.channel,
        "rho": float(curve.ratio),
        "rho_text": ratio_text(curve.ratio),
        "k": np.nan if curve.k is None else float(curve.k),
        "told_snr_db": np.nan if curve.told_snr_db is None else curve.told_snr_db,
        "seed": np.nan if curve.seed is None else float(curve.seed),
        "metric": curve.metric,
        "snr_db": points[:, 0],
        "value": points[:, 1],
        "ci95": points[:, 2],
        "source": curve.source,
    }
