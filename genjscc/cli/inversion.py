# SPDX-License-Identifier: Apache-2.0
"""Inversions on the command line: their options, and what one sees while they run."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from genjscc.cli.console import err
from genjscc.client.exchange import ImageInput
from genjscc.client.inversion import Inversion, InversionStep
from genjscc.client.link import Link
from genjscc.client.options import Reception
from genjscc.errors import InvalidInputError

TIMEOUT_S = 3600.0
"""Of a link that inverts: minutes are usual on a CPU."""

_PREVIEW_EVERY = 5
_PREVIEW_COLUMNS = 40

InversionPairs = Annotated[
    list[str] | None,
    typer.Option(
        "--inversion",
        help="FIELD=VALUE for the scheme inverse, as preset=fast, steps=50,50,25,25 or "
        "generator=faces64; repeat for more.",
    ),
]


def inversion_of(pairs: list[str] | None) -> Inversion | None:
    """The options that FIELD=VALUE pairs describe; None where there are none.

    Raises:
        InvalidInputError: not of that form, no such field, or a value of another kind.
    """
    kinds = get_type_hints(Inversion)
    values: dict[str, Any] = {}
    for pair in pairs or ():
        name, equals, text = pair.partition("=")
        if not equals:
            raise InvalidInputError("--inversion", f"got {pair!r}; must be FIELD=VALUE")
        if name not in kinds:
            known = ", ".join(field.name for field in fields(Inversion))
            raise InvalidInputError("--inversion", f"got {name!r}; there are {known}")
        try:
            values[name] = _parsed(text, get_args(kinds[name])[0])
        except ValueError as error:
            raise InvalidInputError(f"--inversion {name}", f"got {text!r}; {error}") from error
    return Inversion(**values) if values else None


def _parsed(text: str, kind: Any) -> Any:
    if get_origin(kind) is tuple:
        one = get_args(kind)[0]
        return tuple(one(part) for part in text.split(","))
    return kind(text)


def send_watched(link: Link, image: ImageInput, name: str, **keywords: Any) -> Reception:
    """One image by InverseJSCC, with its losses and, on a terminal, what the generator shows."""
    progress = Progress(
        TextColumn(name),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[losses]}"),
    )
    task = progress.add_task("", total=None, losses="")
    every = _PREVIEW_EVERY if err.is_terminal else 0
    with Live(progress, console=err, transient=True) as live:
        for event in link.watch(image, preview_every=every, **keywords):
            if isinstance(event, Reception):
                return event
            progress.update(
                task, completed=event.step, total=event.num_steps, losses=losses_text(event)
            )
            if event.preview is not None:
                live.update(Group(progress, half_blocks(event.preview)))
    raise RuntimeError("the link ended without a reception")


def losses_text(step: InversionStep) -> str:
    """Stage and losses in a line."""
    losses = step.losses
    return (
        f"stage {step.stage}  loss {losses.total:.4f}  MSE {losses.mse:.4f}  "
        f"perceptual {losses.perceptual:.3f}"
    )


def half_blocks(image: NDArray[np.uint8], columns: int = _PREVIEW_COLUMNS) -> Text:
    """A picture uint8 [H, W, 3] for a terminal: two pixels in each character."""
    height, width, _ = image.shape
    rows = max(2, columns * height // width // 2 * 2)
    small = np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BOX))
    text = Text()
    for upper, lower in zip(small[0::2].tolist(), small[1::2].tolist(), strict=True):
        for (r, g, b), (r2, g2, b2) in zip(upper, lower, strict=True):
            text.append("▀", style=f"rgb({r},{g},{b}) on rgb({r2},{g2},{b2})")
        text.append("\n")
    return text
