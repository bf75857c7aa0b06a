# SPDX-License-Identifier: Apache-2.0
"""Inversions on the command line: options, and display of their progress."""

from __future__ import annotations

import sys
from dataclasses import fields
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from genjscc.cli.console import err, has_window
from genjscc.cli.pictures import half_blocks
from genjscc.client.inversion import InversionOptions, InversionStep
from genjscc.client.link import Link
from genjscc.client.options import Reception
from genjscc.client.protocol import ImageInput
from genjscc.errors import InvalidInputError

TIMEOUT_S = 3600.0
"""Of a link that inverts: minutes are usual on a CPU."""

_PREVIEW_EVERY = 5

InversionPairs = Annotated[
    list[str] | None,
    typer.Option(
        "--inversion",
        help="FIELD=VALUE for the scheme inverse, as preset=fast, steps=50,50,25,25 or "
        "generator=faces64; repeat for more.",
    ),
]


def inversion_of(pairs: list[str] | None) -> InversionOptions | None:
    """Parse FIELD=VALUE pairs to options; None if there are no pairs.

    Raises:
        InvalidInputError: not of that form, no such field, or a value of another kind.
    """
    kinds = get_type_hints(InversionOptions)
    values: dict[str, Any] = {}
    for pair in pairs or ():
        name, equals, text = pair.partition("=")
        if not equals:
            raise InvalidInputError("--inversion", f"got {pair!r}; must be FIELD=VALUE")
        if name not in kinds:
            known = ", ".join(field.name for field in fields(InversionOptions))
            raise InvalidInputError("--inversion", f"got {name!r}; there are {known}")
        try:
            values[name] = _parsed(text, get_args(kinds[name])[0])
        except ValueError as error:
            raise InvalidInputError(f"--inversion {name}", f"got {text!r}; {error}") from error
    return InversionOptions(**values) if values else None


def _parsed(text: str, kind: Any) -> Any:
    if get_origin(kind) is tuple:
        one = get_args(kind)[0]
        return tuple(one(part) for part in text.split(","))
    return kind(text)


def send_watched(link: Link, image: ImageInput, name: str, **keywords: Any) -> Reception:
    """Send one image by InverseJSCC, showing losses and, on a terminal, previews."""
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[losses]}", markup=False),
    )
    task = progress.add_task(name, total=None, losses="")
    windowless = sys.stdout.isatty() and not has_window(sys.stdout)
    every = _PREVIEW_EVERY if err.is_terminal and not windowless else 0
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
    """Format stage and losses as one line."""
    losses = step.losses
    return (
        f"stage {step.stage}  loss {losses.total:.4f}  MSE {losses.mse:.4f}  "
        f"perceptual {losses.perceptual:.3f}"
    )
