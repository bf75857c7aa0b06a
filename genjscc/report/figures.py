# SPDX-License-Identifier: Apache-2.0
"""Plots of result records: quality against SNR, one line per scheme and bandwidth ratio."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from genjscc.errors import InvalidInputError, needs
from genjscc.evaluation.records import Record
from genjscc.quality.statistics import Mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS = {
    "psnr_db": "PSNR / dB",
    "ms_ssim": "MS-SSIM",
    "st_lpips_vgg": "ST-LPIPS (VGG), lower is better",
    "st_lpips_alex": "ST-LPIPS (Alex), lower is better",
    "lpips_vgg": "LPIPS (VGG), lower is better",
    "lpips_alex": "LPIPS (Alex), lower is better",
    "lpips_squeeze": "LPIPS (Squeeze), lower is better",
    "fd_efflite0": "FD-EffLite0, lower is better",
    "fid": "FID, lower is better",
}
_LINES = {"linear": ":", "deepjscc": "-", "inverse": "--", "generative": "-."}


def plot_against_snr(records: Sequence[Record], title: str) -> Figure:
    """One panel per metric that every record has; bars are 95 % intervals.

    Raises:
        InvalidInputError: no records.
        MissingExtraError: matplotlib is not installed.
    """
    with needs("train", "plotting"):
        from matplotlib.figure import Figure
    if not records:
        raise InvalidInputError("records", "there are none")
    panels = [name for name in _PANELS if all(getattr(r, name) is not None for r in records)]
    figure = Figure(figsize=(4.2 * len(panels), 4.4), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    ratios = sorted({Fraction(record.bandwidth_ratio) for record in records})
    for axis, name in zip(axes, panels, strict=True):
        for (scheme, bundle, ratio, told), line in _lines(records).items():
            label = f"{scheme}{f' ({bundle})' if bundle else ''}, {ratio}"
            label += "" if told is None else f", told {told:+g} dB"
            colour = f"C{ratios.index(Fraction(ratio))}"
            _draw_line(axis, line, name, label, _LINES[scheme], colour)
        axis.set_xlabel("SNR / dB")
        axis.set_title(_PANELS[name], fontsize=10)
        axis.grid(alpha=0.3)
    figure.suptitle(title, fontsize=11)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    return figure


def describe(records: Sequence[Record]) -> str:
    """What the records were measured on, in a line."""
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
