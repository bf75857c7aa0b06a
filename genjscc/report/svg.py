# SPDX-License-Identifier: Apache-2.0
"""Figures of matplotlib as short, reproducible SVG text."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Hundredths of a point are finer than any screen.
_LONG_NUMBER = re.compile(r"(?<![\d.])[1-9]\d*\.\d{3,}")
_MARKERS = re.compile(r"<g( clip-path=\"[^\"]*\")?>\n((?:\s*<use [^>]*/>\n)+)(\s*)</g>")
_STYLE = re.compile(r" style=\"[^\"]*\"")


@contextmanager
def svg_style(name: str, font_size: float) -> Iterator[None]:
    """Set matplotlib up for SVG: text as text, and ids that depend on `name` only."""
    from matplotlib import rc_context

    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.size": font_size,
        "font.sans-serif": ["DejaVu Sans", "Verdana"],
    }
    with rc_context(style):
        yield


def svg_text(figure: Figure) -> str:
    """Return a figure as SVG text, drawn within `svg_style`."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    text = _LONG_NUMBER.sub(lambda found: f"{float(found[0]):.2f}", file.getvalue())
    text = _MARKERS.sub(_with_one_style, text)
    return "\n".join(line.strip() for line in text.splitlines()) + "\n"


def _with_one_style(group: re.Match[str]) -> str:
    """Move the style that all markers of a group share to the group."""
    clip, markers, indent = group.groups()
    styles = set(_STYLE.findall(markers))
    if len(styles) != 1:
        return group[0]
    return f"<g{clip or ''}{styles.pop()}>\n{_STYLE.sub('', markers)}{indent}</g>"
