# SPDX-License-Identifier: Apache-2.0
"""Builder of the page: Markdown and the figures that it refers to."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from genjscc.report.plots import Panel, draw
from genjscc.report.sources import Entry, Metric, Source

FIGURES = "figures"
NOTHING = "No results yet; see *Missing results*."


@dataclass
class Book:
    """A page in Markdown, built part by part.

    Args:
        folder: folder of the page; figures go to its subfolder `figures/`.
    """

    folder: Path
    _parts: list[str] = field(default_factory=list)
    _figures: int = 0

    def heading(self, text: str, level: int = 2) -> None:
        """Add a heading."""
        self._parts.append(f"{'#' * level} {text}")

    def text(self, text: str) -> None:
        """Add a paragraph, or any other Markdown."""
        self._parts.append(text)

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Add a table; the first column is left-aligned, the others are centred."""
        lines = [_row(head), _row([":--", *[":-:"] * (len(head) - 1)])]
        self._parts.append("\n".join([*lines, *(_row(row) for row in rows)]))

    def folded(self, summary: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Add a collapsed table."""
        cells = [head, *rows]
        body = "".join(
            "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"
            for tag, row in zip(["th"] + ["td"] * len(cells), cells, strict=False)
        )
        self._parts.append(
            f"<details><summary>{html.escape(summary)}</summary><table>{body}</table></details>"
        )

    def figure(
        self,
        name: str,
        panels: Sequence[Panel],
        caption: str,
        entries: Sequence[Entry],
        columns: int = 3,
    ) -> None:
        """Add panels with a caption that lists data, settings and commands."""
        drawn = [panel for panel in panels if panel.curves]
        if not drawn:
            return
        path = self.folder / FIGURES / f"{name}.svg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(draw(drawn, name, columns), encoding="utf-8")
        self._show(f"{FIGURES}/{name}.svg", f"{caption} {measured_on(entries)}")
        self.commands(entry.source for entry in entries)

    def picture(self, path: str, caption: str, command: str) -> None:
        """Add an existing image; the path is relative to the page."""
        self._show(path, caption)
        self._details([command])

    def commands(self, sources: Iterable[Source]) -> None:
        """Add the commands that wrote the files."""
        unique = {source.name: source.results for source in sources}
        self._details(
            [
                f"{results.command}   # {name}, version {results.version}, commit {results.commit}"
                for name, results in sorted(unique.items())
            ]
        )

    def _show(self, path: str, caption: str) -> None:
        self._figures += 1
        label = f"Figure {self._figures}"
        self._parts.append(f"![{label}]({path})")
        self._parts.append(f"*{label}.* {caption}")

    def _details(self, lines: Sequence[str]) -> None:
        body = html.escape("\n".join(lines))
        self._parts.append(f"<details><summary>Commands</summary><pre>{body}</pre></details>")

    @property
    def markdown(self) -> str:
        """Return the page."""
        return "\n\n".join(self._parts) + "\n"


def caption_of(metrics: Sequence[Metric], more: str = "") -> str:
    """Name the plotted metrics, with a warning if one could be mistaken for LPIPS."""
    names = ", ".join(metric.title for metric in metrics)
    own = [metric.title for metric in metrics if metric.title.startswith("ST-LPIPS")]
    warning = f" {own[0]} is not LPIPS: the network and its values differ." if own else ""
    return f"{names}. {more}{warning}".replace("  ", " ")


def measured_on(entries: Iterable[Entry]) -> str:
    """Describe data, number of images, channel, seed and intervals of a figure."""
    records = [entry.record for entry in entries]

    def listed(values: Iterable[object]) -> str:
        return ", ".join(str(value) for value in dict.fromkeys(values))

    parts = [
        "Data: " + listed(f"{r.dataset} {r.split} ({r.image_size})" for r in records),
        "n = " + listed(sorted({r.n for r in records}, reverse=True)),
        "channel: " + listed(r.channel.upper() for r in records),
        "seed: " + listed(sorted({r.seed for r in records})),
        "MS-SSIM over M = " + listed(sorted({r.ms_ssim_scales for r in records})) + " scales",
    ]
    return "; ".join(parts) + ". Bars: 95 % intervals over images and their noise."


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
