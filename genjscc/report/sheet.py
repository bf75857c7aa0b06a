# SPDX-License-Identifier: Apache-2.0
"""Labelled sheets of pictures: originals on the left, receptions in groups beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

TILE = 112
_GAP, _GROUP_GAP, _MARGIN = 4, 16, 16
_TITLE, _HEAD, _CAPTION = 34, 24, 20
_INK, _FAINT, _PAPER = (25, 25, 25), (110, 110, 110), (255, 255, 255)


@dataclass(frozen=True)
class Tile:
    """A picture uint8 [H, W, 3] with the label below it."""

    pixels: NDArray[np.uint8]
    caption: str


@dataclass(frozen=True)
class Group:
    """Adjacent columns under one heading. `rows[r][c]` is the tile of row r, column c."""

    heading: str
    columns: Sequence[str]
    rows: list[list[Tile]] = field(default_factory=list)


def draw_sheet(title: str, groups: Sequence[Group], tile: int = TILE) -> Image.Image:
    """Draw the sheet; all groups must have the same number of rows.

    Args:
        title: above all; broken into lines where it is wider than the pictures.
        groups: from left to right.
        tile: the longer side of a picture on the sheet, in pixels.
    """
    starts: list[int] = []
    x = _MARGIN
    for group in groups:
        starts.append(x)
        x += len(group.columns) * (tile + _GAP) - _GAP + _GROUP_GAP
    width = x - _GROUP_GAP + _MARGIN
    large, normal, small = (ImageFont.load_default(size) for size in (20, 15, 12))
    lines = _lines(title, large, width - 2 * _MARGIN)
    heads = _MARGIN + len(lines) * _TITLE
    tops = [heads + 2 * _HEAD]
    for row in zip(*(group.rows for group in groups), strict=True):
        shown = max(_shown(one.pixels, tile)[1] for tiles in row for one in tiles)
        tops.append(tops[-1] + shown + _CAPTION + _GAP)
    sheet = Image.new("RGB", (width, tops[-1] + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        draw.text((_MARGIN, _MARGIN + number * _TITLE), line, font=large, fill=_INK)
    for left, group in zip(starts, groups, strict=True):
        draw.text((left, heads), group.heading, font=normal, fill=_INK)
        for column, name in enumerate(group.columns):
            x = left + column * (tile + _GAP)
            draw.text((x, heads + _HEAD), name, font=small, fill=_FAINT)
            for top, tiles in zip(tops, group.rows, strict=False):
                one = tiles[column]
                size = _shown(one.pixels, tile)
                picture = Image.fromarray(one.pixels)
                sheet.paste(picture.resize(size, Image.Resampling.BICUBIC), (x, top))
                draw.text((x, top + size[1] + 2), one.caption, font=small, fill=_INK)
    return sheet


def _shown(pixels: NDArray[np.uint8], tile: int) -> tuple[int, int]:
    """Width and height on the sheet."""
    height, width, _ = pixels.shape
    longer = max(height, width)
    return max(1, round(width * tile / longer)), max(1, round(height * tile / longer))


def _lines(text: str, font: Any, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines or [""]
