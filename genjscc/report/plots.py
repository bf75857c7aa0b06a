# SPDX-License-Identifier: Apache-2.0
"""Panels of curves with intervals, as reproducible SVG text."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from genjscc.errors import needs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL_SIZE = (4.3, 3.3)
_LEGEND_ROW = 0.19


@dataclass(frozen=True)
class Point:
    """One measurement of a curve; `lost` if at least half of the images are outages."""

    x: float
    y: float
    ci95: float = 0.0
    lost: bool = False


@dataclass(frozen=True)
class Curve:
    """A line of a panel; `style` holds matplotlib's line properties."""

    label: str
    points: Sequence[Point]
    style: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """One pair of axes; with `ticks`, labelled positions, the x axis is logarithmic.

    Without `y_limits` the y axis spans the curves.
    """

    title: str
    x_label: str
    y_label: str
    curves: Sequence[Curve]
    ticks: Sequence[tuple[float, str]] = ()
    y_limits: tuple[float, float] | None = None


def draw(panels: Sequence[Panel], name: str, columns: int = 3) -> str:
    """Draw panels as SVG, with one shared legend.

    Args:
        panels: at least one.
        name: seed of the ids within the SVG, which makes the file reproducible.
        columns: number of panels per row.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with needs("train", "plotting"):
        import matplotlib as mpl
        from matplotlib.figure import Figure
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    labels = {curve.label for panel in panels for curve in panel.curves}
    width = max(_PANEL_SIZE[0] * columns, 6.0)
    in_a_row = max(1, int(width / 3.4))
    legend_height = _LEGEND_ROW * -(-len(labels) // in_a_row) + 0.15
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 9}):
        size = (width, _PANEL_SIZE[1] * rows + legend_height)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).flatten()
        for axis, panel in zip(axes, panels, strict=False):
            _draw_panel(axis, panel)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        handles: dict[str, Any] = {}
        for axis in axes[: len(panels)]:
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        if handles:
            figure.legend(
                handles.values(),
                handles.keys(),
                loc="outside lower center",
                ncols=min(in_a_row, len(handles)),
                fontsize=8,
                frameon=False,
            )
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    # Hundredths of a point are finer than any screen.
    return re.sub(
        r"(?<![\d.])[1-9]\d*\.\d{3,}", lambda found: f"{float(found[0]):.2f}", file.getvalue()
    )


def _draw_panel(axis: Axes, panel: Panel) -> None:
    for curve in panel.curves:
        points = sorted(curve.points, key=lambda point: point.x)
        x = [point.x for point in points]
        y = [point.y for point in points]
        bars = [point.ci95 for point in points] if any(point.ci95 for point in points) else None
        style = {"linewidth": 1.3, "markersize": 3, "marker": "o", **curve.style}
        axis.errorbar(x, y, yerr=bars, label=curve.label, capsize=1.5, elinewidth=0.7, **style)
        lost = [(point.x, point.y) for point in points if point.lost]
        if lost:
            colour = style.get("color")
            axis.plot(*zip(*lost, strict=True), "x", markersize=7, color=colour, zorder=3)
    axis.set_title(panel.title, fontsize=9)
    axis.set_xlabel(panel.x_label)
    axis.set_ylabel(panel.y_label)
    if panel.ticks:
        axis.set_xscale("log")
        axis.set_xticks([place for place, _ in panel.ticks], [name for _, name in panel.ticks])
        axis.minorticks_off()
    if panel.y_limits is not None:
        axis.set_ylim(*panel.y_limits)
    axis.grid(alpha=0.25)
