# SPDX-License-Identifier: Apache-2.0
"""Panels of curves with intervals, as reproducible SVG text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from genjscc.errors import needs
from genjscc.report.svg import svg_style, svg_text

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
        from matplotlib.figure import Figure
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    labels = {curve.label for panel in panels for curve in panel.curves}
    width = max(_PANEL_SIZE[0] * columns, 6.0)
    in_a_row = max(1, int(width / 3.4))
    legend_height = _LEGEND_ROW * -(-len(labels) // in_a_row) + 0.15
    with svg_style(name, font_size=9):
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
        return svg_text(figure)


def _draw_panel(axis: Axes, panel: Panel) -> None:
    for curve in panel.curves:
        points = sorted(curve.points, key=lambda point: point.x)
        x = [point.x for point in points]
        y = [point.y for point in points]
        style = {"linewidth": 1.3, "markersize": 3, "marker": "o", **curve.style}
        (line,) = axis.plot(x, y, label=curve.label, **style)
        axis.plot(*_error_bars(points), color=line.get_color(), linewidth=0.7)
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


def _error_bars(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    """Return the intervals as one line with gaps, which is far shorter than a path for each."""
    nan = float("nan")
    x = [place for point in points for place in (point.x, point.x, nan)]
    y = [end for point in points for end in (point.y - point.ci95, point.y + point.ci95, nan)]
    return x, y
