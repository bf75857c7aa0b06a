# SPDX-License-Identifier: Apache-2.0
"""Display of results: a line in a terminal, a picture in a notebook."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape

import numpy as np
from numpy.typing import NDArray

_SHOWN_SIDE = 192
_FEW_POINTS, _MAX_POINTS = 64, 2048
_REACH = 2.5


def line(kind: str, facts: Mapping[str, object]) -> str:
    """Format a result as `Kind(name value, ...)`."""
    return f"{kind}({', '.join(f'{name} {value}' for name, value in facts.items())})"


def png(rgb: NDArray[np.uint8]) -> bytes:
    """Encode uint8 [H, W, 3] as PNG."""
    from PIL import Image  # the channel, which knows codewords, is installed without it

    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "PNG")
    return file.getvalue()


def image_html(rgb: NDArray[np.uint8]) -> str:
    """Return an `img` element; small images are enlarged without smoothing."""
    height, width, _ = rgb.shape
    factor = max(1, _SHOWN_SIDE // max(height, width))
    data = base64.b64encode(png(rgb)).decode()
    return (
        f'<img src="data:image/png;base64,{data}" width="{width * factor}" '
        f'height="{height * factor}" style="image-rendering: pixelated" alt="{width}x{height}">'
    )


def constellation_svg(symbols: NDArray[np.complex64]) -> str:
    """Plot symbols [k] in the complex plane as an `svg` element, with I to the right and Q up.

    The circle has the radius 1, the root of the average power of what is sent. Of many symbols
    every n-th is shown; one beyond 2.5 in I or Q is drawn at the edge.
    """
    shown = symbols[:: -(-len(symbols) // _MAX_POINTS)]
    points = np.clip(np.stack([shown.real, -shown.imag], axis=-1), -_REACH, _REACH)
    radius = 0.06 if len(points) <= _FEW_POINTS else 0.03
    dots = "".join(f'<circle cx="{i:.3f}" cy="{q:.3f}" r="{radius}"/>' for i, q in points)
    side = 2 * _REACH + 0.2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_SHOWN_SIDE}" height="{_SHOWN_SIDE}" '
        f'viewBox="{-side / 2} {-side / 2} {side} {side}" role="img" aria-label="constellation">'
        f'<g fill="none" stroke="#999" stroke-width="0.02"><circle r="1"/>'
        f'<path d="M{-_REACH} 0H{_REACH}M0 {-_REACH}V{_REACH}"/></g>'
        f'<g fill="#1f77b4" fill-opacity="0.6">{dots}</g></svg>'
    )


def card_html(figures: list[str], facts: Mapping[str, object]) -> str:
    """Return figures side by side, with a table of facts."""
    rows = "".join(
        f'<tr><th style="text-align: left">{escape(name)}</th>'
        f'<td style="text-align: left">{escape(str(value))}</td></tr>'
        for name, value in facts.items()
    )
    shown = "".join(f"<div>{figure}</div>" for figure in figures)
    return (
        '<div style="display: flex; gap: 1em; align-items: center; flex-wrap: wrap">'
        f"{shown}<table>{rows}</table></div>"
    )
