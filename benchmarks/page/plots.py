# SPDX-License-Identifier: Apache-2.0
"""Plots of docs/benchmarks.md, as SVG text that is reproducible from the values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from genjscc.report.svg import svg_style, svg_text

_COLUMNS, _SIZE = 3, (3.6, 3.0)
_LABELS = {"ms": "time / ms", "bytes": "memory / bytes", "images_per_s": "images per second"}


@dataclass(frozen=True)
class Panel:
    """One pair of logarithmic axes; lines are (label, x, y)."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[tuple[str, Sequence[float], Sequence[float]]]


def draw(panels: Sequence[Panel], name: str) -> str:
    """Draw the panels side by side; `name` seeds the ids within the SVG."""
    rows = -(-len(panels) // _COLUMNS)
    columns = min(_COLUMNS, len(panels))
    with svg_style(name, font_size=8):
        figure = Figure(figsize=(_SIZE[0] * columns, _SIZE[1] * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).flat
        for panel, one in zip(panels, axes, strict=False):
            for label, x, y in panel.lines:
                one.loglog(x, y, marker=".", label=label)
            one.set_title(panel.title, fontsize=8)
            one.set_xlabel(panel.x_label)
            one.set_ylabel(panel.y_label)
            one.grid(alpha=0.3, which="both")
            if len(panel.lines) > 1:
                one.legend()
        for one in list(axes)[len(panels) :]:
            one.set_axis_off()
        return svg_text(figure)


def curves(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return every curve of a growth file by its title."""
    made = {
        f"{name}: {_LABELS[what].partition(' /')[0]}": one
        for name, measured in found["curves"].items()
        for what, one in measured.items()
    }
    inversion = found["inversion"]
    made["inversion, steps: time"] = inversion["steps"]["ms"]
    made["inversion, images at once: time of a step"] = inversion["images at once"]["ms"]
    return made


def growth_panels(found: dict[str, Any]) -> dict[str, str]:
    """Draw a panel for each growth curve."""
    panels = []
    for name, measured in found["curves"].items():
        title, _, x_label = name.partition(", ")
        for what, one in measured.items():
            line = (title, one["x"], one["y"])
            panels.append(Panel(title, x_label or "replicas", _LABELS[what], [line]))
    for name in ("steps", "images at once"):
        one = found["inversion"][name]["ms"]
        label = "time / ms" if name == "steps" else "time of a step / ms"
        panels.append(Panel("inversion", name, label, [("", one["x"], one["y"])]))
    return {"bench_growth.svg": draw(panels, "growth")}


def peer_panels(found: dict[str, Any]) -> dict[str, str]:
    """Draw throughput over p99: a panel for each case, a line for each server."""
    cases = next(iter(found["servers"].values()))["cases"]
    panels = []
    for case in cases:
        lines = []
        for name, server in found["servers"].items():
            points = server["cases"][case]["points"]
            x = [point["p99_ms"]["median"] for point in points]
            lines.append((name, x, [point["per_second"]["median"] for point in points]))
        role, _, side = case.partition(", ")
        title = f"{role}, {side}x{side}"
        panels.append(Panel(title, "p99 / ms", "images per second", lines))
    return {"bench_peers.svg": draw(panels, "peers")}


def inversion_panels(found: dict[str, Any]) -> dict[str, str]:
    """Draw ST-LPIPS (VGG) over time: a panel for each pair, a line for each preset."""
    panels = []
    for model, one in found["models"].items():
        lines = [
            (name, [p["wall_s"] for p in points], [p["st_lpips_vgg"]["mean"] for p in points])
            for name, points in one["curves"].items()
        ]
        panels.append(Panel(f"sent by {model}", "time / s", "ST-LPIPS (VGG)", lines))
    return {"bench_inversion_time.svg": draw(panels, "inversion_time")}
