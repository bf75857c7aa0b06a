# SPDX-License-Identifier: Apache-2.0
"""Equations as drawings inside the page: no script, no font and no network needed."""

from __future__ import annotations

from html import escape
from typing import Any

import ziamath
from docutils import nodes
from sphinx.application import Sphinx

# The theme's text has 16 pixels; the equations' font is a little smaller than others.
_SIZE = 17.5
_COLOUR = "currentColor"  # in the dark as in the light


def visit_inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(_drawing(node.astext(), inline=True))
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.math_block) -> None:
    drawing = _drawing(node.astext(), inline=False)
    style = "text-align: center; overflow-x: auto; margin: 1.2em 0"
    translator.body.append(f'<div class="math" style="{style}">{drawing}</div>\n')
    raise nodes.SkipNode


def _drawing(latex: str, *, inline: bool) -> str:
    """An `svg` element on the line's base, with the source for screen readers."""
    equation = ziamath.Latex(latex, size=_SIZE, color=_COLOUR, inline=inline)
    label = escape(" ".join(latex.split()), quote=True)
    style = f"vertical-align: {equation.getyofst():.2f}px"
    opening = f'<svg role="img" aria-label="{label}" style="{style}" '
    svg: str = equation.svg()
    return svg.replace("<svg ", opening, 1)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("svg", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
