# SPDX-License-Identifier: Apache-2.0
"""Labelled sheets of pictures: originals on the left, receptions in groups beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_TILE, _GAP, _GROUP_GAP, _MARGIN = 112, 4, 16, 16
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


def draw_sheet(title: str, groups: Sequence[Group]) -> Image.Image:
    """Draw the sheet; all groups must have the same number of rows."""
    num_rows = len(groups[0].rows)
    starts: list[int] = []
    x = _MARGIN
    for group in groups:
        starts.append(x)
        x += len(group.columns) * (_TILE + _GAP) - _GAP + _GROUP_GAP
    width = x - _GROUP_GAP + _MARGIN
    top = _MARGIN + _TITLE + 2 * _HEAD
    height = top + num_rows * (_TILE + _CAPTION + _GAP) + _MARGIN
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    large, normal, small = (ImageFont.load_default(size) for size in (20, 15, 12))
    draw.text((_MARGIN, _MARGIN), title, font=large, fill=_INK)
    for left, group in zip(starts, groups, strict=True):
        draw.text((left, _MARGIN + _TITLE), group.heading, font=normal, fill=_INK)
        for column, name in enumerate(group.columns):
            x = left + column * (_TILE + _GAP)
            draw.text((x, _MARGIN + _TITLE + _HEAD), name, font=small, fill=_FAINT)
            for row in range(num_rows):
                tile = group.rows[row][column]
                y = top + row * (_TILE + _CAPTION + _GAP)
                picture = Image.fromarray(tile.pixels)
                sheet.paste(picture.resize((_TILE, _TILE), Image.Resampling.BICUBIC), (x, y))
                draw.text((x, y + _TILE + 2), tile.caption, font=small, fill=_INK)
    return sheet
