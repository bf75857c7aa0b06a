# SPDX-License-Identifier: Apache-2.0
"""Curves from records: grouping, labels and line styles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any

from genjscc.evaluation.separation.records import SeparationRecord
from genjscc.report.plots import Curve, Panel, Point
from genjscc.report.selection import (
    SCHEME_NAMES,
    Subject,
    by_subject,
    comparable,
    family_name,
    is_learned,
    name_of,
    ratio_text,
)
from genjscc.report.sources import Entry, Metric

SNR_AXIS = "SNR / dB"
_COLOURS = {"deepjscc": "C0", "inverse": "C2", "generative": "C3"}
# One line style per bundle of a scheme.
_DASHES = ("-", "--", "-.", ":")
_FAMILY_STYLES: dict[tuple[str, bool], dict[str, Any]] = {
    ("capacity", False): {"color": "#8c564b", "linestyle": "-"},
    ("capacity", True): {"color": "#8c564b", "linestyle": "--"},
    ("ldpc", False): {"color": "#e0a030", "linestyle": "-"},
    ("ldpc", True): {"color": "#e0a030", "linestyle": "--"},
}
_MOSTLY = 0.5


def learned_curves(
    entries: Sequence[Entry],
    metric: Metric,
    x: Callable[[Entry], float] = lambda entry: entry.record.snr_db,
) -> list[Curve]:
    """Return one curve per scheme, model and inversion settings."""
    found: dict[tuple[int, str], list[Entry]] = {}
    for entry in entries:
        if is_learned(entry):
            place = list(SCHEME_NAMES).index(entry.record.scheme)
            found.setdefault((place, name_of(entry)), []).append(entry)
    curves = []
    dashes: dict[str, int] = {}
    for (_, name), members in sorted(found.items()):
        scheme = members[0].record.scheme
        number = dashes.setdefault(scheme, 0)
        dashes[scheme] += 1
        style = {"color": _COLOURS[scheme], "linestyle": _DASHES[number % len(_DASHES)]}
        curves.append(_curve(name, members, metric, x, style))
    return [curve for curve in curves if curve.points]


def baseline_curves(
    entries: Sequence[Entry],
    metric: Metric,
    x: Callable[[Entry], float] = lambda entry: entry.record.snr_db,
) -> list[Curve]:
    """Return the linear baseline and, for separation, the best codec at each point."""
    linear = [entry for entry in entries if entry.record.scheme == "linear"]
    style = {"color": "black", "linestyle": ":", "marker": "."}
    curves = [_curve(SCHEME_NAMES["linear"], linear, metric, x, style)]
    for (code, headers), family_style in _FAMILY_STYLES.items():
        family = best_codecs(entries, metric, code, headers)
        label = f"best codec, {family_name(code, headers)}"
        curves.append(_curve(label, family, metric, x, {**family_style, "marker": "."}))
    return [curve for curve in curves if curve.points]


def baselines_of(entries: Sequence[Entry], subject: Subject, ratio: Fraction) -> list[Entry]:
    """Return the baselines' records on the same images at one ratio."""
    here = by_subject(entries).get(subject, [])
    return comparable([e for e in here if e.ratio == ratio and not is_learned(e)])


def best_codecs(
    entries: Iterable[Entry], metric: Metric, channel_code: str, headers: bool
) -> list[Entry]:
    """Return for each ratio and SNR the codec with the best mean of a metric."""
    best: dict[tuple[object, ...], Entry] = {}
    for entry in entries:
        record, value = entry.record, metric.value(entry.record)
        if not isinstance(record, SeparationRecord) or value is None:
            continue
        if (record.channel_code, record.headers) != (channel_code, headers):
            continue
        key = (entry.ratio, record.snr_db)
        held = metric.value(best[key].record) if key in best else None
        if held is None or (value > held if metric.rises else value < held):
            best[key] = entry
    return list(best.values())


def codec_curves(
    entries: Iterable[Entry], metric: Metric, channel_code: str, headers: bool
) -> list[Curve]:
    """Return one curve per codec against SNR."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        record = entry.record
        if not isinstance(record, SeparationRecord):
            continue
        if (record.channel_code, record.headers) == (channel_code, headers):
            found.setdefault(record.codec, []).append(entry)
    return [
        _curve(name, members, metric, _snr_db, {"color": f"C{number}"})
        for number, (name, members) in enumerate(sorted(found.items()))
    ]


def _curve(
    label: str,
    entries: Iterable[Entry],
    metric: Metric,
    x: Callable[[Entry], float],
    style: dict[str, Any],
) -> Curve:
    points = []
    for entry in entries:
        record, value = entry.record, metric.value(entry.record)
        if value is None:
            continue
        lost = isinstance(record, SeparationRecord) and record.outage.mean >= _MOSTLY
        points.append(Point(x(entry), value, metric.interval(record), lost))
    return Curve(label, points, style)


def _snr_db(entry: Entry) -> float:
    return entry.record.snr_db


def against_snr(entries: Sequence[Entry], metrics: Sequence[Metric]) -> list[Panel]:
    """Return panels against SNR: one row for each ratio, one column for each metric."""
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
