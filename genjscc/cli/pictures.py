# SPDX-License-Identifier: Apache-2.0
"""Pictures in a terminal: Sixel or Kitty's protocol if supported, half blocks otherwise."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from genjscc.cli.console import out, shows_pictures

COLUMNS = 32
Rgb = NDArray[np.uint8]
# A terminal that does not tell the size of its cells is no news.
logging.getLogger("textual_image").setLevel(logging.CRITICAL)


def show_pictures(pictures: Sequence[tuple[str, Rgb]], *, columns: int = COLUMNS) -> None:
    """Show pictures uint8 [H, W, 3] side by side with titles; nothing without a terminal."""
    if not shows_pictures():
        return
    # It asks the terminal what it can when it is imported; without an answer: half blocks.
    from textual_image.renderable import Image as Renderable

    grid = Table.grid(padding=(0, 2))
    grid.add_row(*(Text(title) for title, _ in pictures))
    images = (Image.fromarray(pixels) for _, pixels in pictures)
    grid.add_row(*(Renderable(image, width=columns, height="auto") for image in images))
    out.print(grid)


def half_blocks(picture: Rgb, columns: int = COLUMNS) -> RenderableType:
    """Draw a picture uint8 [H, W, 3] with two pixels per character, for frequent updates."""
    from textual_image.renderable.halfcell import Image as Renderable

    return Renderable(Image.fromarray(picture), width=columns, height="auto")
