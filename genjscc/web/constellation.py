# SPDX-License-Identifier: Apache-2.0
"""Scatter plots of complex symbols as SVG."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

MOST_POINTS = 1500
_SIDE = 240
_SMALLEST_SPAN = 3.0
_SHOWN_SHARE = 0.99


def span_of(*symbols: NDArray[np.complex64]) -> float:
    """Return half the width of a plot that shows 99 % of each set of symbols, at least 3."""
    largest = [
        float(np.quantile(np.maximum(np.abs(one.real), np.abs(one.imag)), _SHOWN_SHARE))
        for one in symbols
    ]
    return max(_SMALLEST_SPAN, math.ceil(max(largest)))


def scatter(symbols: NDArray[np.complex64], span: float, label: str) -> str:
    """Plot symbols [k] within ±span on both axes; at most 1,500, evenly chosen.

    The dashed circle is where symbols of the average power 1 would lie.
    """
    count = min(len(symbols), MOST_POINTS)
    shown = symbols[np.arange(count) * len(symbols) // count]
    shown = shown[(np.abs(shown.real) <= span) & (np.abs(shown.imag) <= span)]
    scale = _SIDE / 2 / span
    middle = _SIDE / 2
    # One path of round caps is drawn faster than a thousand circles.
    dots = "".join(f"M{middle + scale * z.real:.1f} {middle - scale * z.imag:.1f}h0" for z in shown)
    return (
        f'<svg class="scatter" viewBox="0 0 {_SIDE} {_SIDE}" role="img" aria-label="{label}">'
        f'<path class="axis" d="M0 {middle}H{_SIDE}M{middle} 0V{_SIDE}"/>'
        f'<circle class="unit" cx="{middle}" cy="{middle}" r="{scale:.1f}"/>'
        f'<path class="dots" d="{dots}"/>'
        f'<text x="{_SIDE - 6}" y="{middle - 6}" text-anchor="end">I = {span:g}</text>'
        f'<text x="{middle + 6}" y="14">Q = {span:g}</text></svg>'
    )
