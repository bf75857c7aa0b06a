# SPDX-License-Identifier: Apache-2.0
"""Plots of result records: quality against SNR, one line per scheme and bandwidth ratio."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from genjscc.errors import InvalidInputError, needs
from genjscc.evaluation.records import Record
from genjscc.quality.statistics import Mean
from genjscc.report.sources import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINES = {"linear": ":", "deepjscc": "-", "inverse": "--", "generative": "-."}


def plot_against_snr(records: Sequence[Record], title: str) -> Figure:
    """Plot one panel per metric that every record has; bars are 95 % intervals.

    Raises:
        InvalidInputError: there are no records.
        MissingExtraError: matplotlib is not installed.
    """
    with needs("train", "plotting"):
        from matplotlib.figure import Figure
    if not records:
        raise InvalidInputError("records", "got none; must be at least one")
    metrics = [m for m in METRICS if all(getattr(r, m.field) is not None for r in records)]
    figure = Figure(figsize=(4.2 * len(metrics), 4.4), layout="constrained")
    axes = figure.subplots(1, len(metrics), squeeze=False)[0]
    ratios = sorted({Fraction(record.bandwidth_ratio) for record in records})
    for axis, metric in zip(axes, metrics, strict=True):
        for (scheme, bundle, ratio, assumed), line in _lines(records).items():
            label = f"{scheme}{f' ({bundle})' if bundle else ''}, {ratio}"
            label += "" if assumed is None else f", assumed {assumed:+g} dB"
            colour = f"C{ratios.index(Fraction(ratio))}"
            _draw_line(axis, line, metric.field, label, _LINES[scheme], colour)
        axis.set_xlabel("SNR / dB")
        axis.set_title(metric.axis, fontsize=10)
        axis.grid(alpha=0.3)
    figure.suptitle(title, fontsize=11)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    return figure


def describe(records: Sequence[Record]) -> str:
    """Describe data and settings of the records in one line."""
    first = records[0]
    scales = first.ms_ssim_scales
    return (
        f"{first.dataset} {first.split}, n = {first.n}, {first.image_size} pixels, "
        f"{first.channel.upper()}, seed {first.seed}; MS-SSIM over {scales} scales"
    )


_Line = tuple[str, str | None, str, float | None]


def _lines(records: Sequence[Record]) -> dict[_Line, list[Record]]:
    lines: dict[_Line, list[Record]] = {}
    for record in sorted(records, key=lambda r: (r.scheme, Fraction(r.bandwidth_ratio), r.snr_db)):
        key = (record.scheme, record.bundle, record.bandwidth_ratio, record.told_snr_db)
        lines.setdefault(key, []).append(record)
    return lines


def _draw_line(
    axis: Axes, line: Sequence[Record], name: str, label: str, style: str, colour: str
) -> None:
    values = [getattr(record, name) for record in line]
    means = [value.mean if isinstance(value, Mean) else value for value in values]
    bars = [value.ci95 if isinstance(value, Mean) else 0.0 for value in values]
    snrs = [record.snr_db for record in line]
    axis.errorbar(snrs, means, yerr=bars, label=label, linestyle=style, color=colour, capsize=2)
