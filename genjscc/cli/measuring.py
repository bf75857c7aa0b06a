# SPDX-License-Identifier: Apache-2.0
"""Shared parts of the commands that measure: images, metrics, the link, progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genjscc.cli.console import err
from genjscc.client.aio import DEFAULT_TIMEOUT_S
from genjscc.client.link import Link
from genjscc.client.local import LocalLink
from genjscc.errors import InvalidInputError

if TYPE_CHECKING:
    from genjscc.evaluation.sweep import Dataset, Meter


def parse_snrs(text: str, option: str) -> list[float]:
    """Parse comma-separated numbers. Raises InvalidInputError."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidInputError(option, f"got {text!r}; must be numbers as -5,0,5") from error


def load_dataset(folder: Path, num: int, size: int, name: str, split: str) -> Dataset:
    """Load evenly spaced images of a folder, in the order of their names."""
    from genjscc.client.protocol import to_rgb_array
    from genjscc.evaluation.sweep import Dataset
    from genjscc.photos import load_square
    from genjscc.quality.metrics import SMALLEST_SIDE
    from genjscc.training.data import list_images

    paths = list_images(folder)
    count = min(num, len(paths)) if num else len(paths)
    if count < 2:
        raise InvalidInputError("data", f"{folder} holds {count} image; an interval needs two")
    chosen = [paths[i * len(paths) // count] for i in range(count)]
    images = [load_square(p, size) if size else to_rgb_array(p) for p in chosen]
    for path, image in zip(chosen, images, strict=True):
        if min(image.shape[:2]) < SMALLEST_SIDE:  # found now, not after the work
            raise InvalidInputError(
                "data",
                f"{path} has {image.shape[1]}x{image.shape[0]} pixels; what measures needs "
                f"{SMALLEST_SIDE}x{SMALLEST_SIDE}, --size scales them",
            )
    folder = folder.resolve()
    return Dataset(name or folder.parent.name, split or folder.name, images)


def make_meter(*, perceptual: str, frechet: bool, fid: bool) -> Meter:
    """Return the requested metrics.

    Raises:
        InvalidInputError: a perceptual distance has another name.
        MissingExtraError: a network's package or weights are missing.
    """
    from genjscc.evaluation.sweep import Meter
    from genjscc.quality.frechet import EffLite0Distance, InceptionDistance, SetDistance
    from genjscc.quality.metrics import (
        PERCEPTUAL_FIELDS,
        available_perceptual,
        perceptual_metric,
    )

    names = {name: field for field, name in PERCEPTUAL_FIELDS.items()}
    if perceptual == "auto":
        chosen = list(available_perceptual().values())
    else:
        chosen = [] if perceptual == "none" else perceptual.split(",")  # type: ignore[assignment]
    for name in chosen:
        if name not in names:
            raise InvalidInputError(
                "--perceptual", f"got {name!r}; there are auto, none, {', '.join(names)}"
            )
    metrics = {names[name]: perceptual_metric(name) for name in chosen}
    distances: dict[str, SetDistance] = {}
    if frechet:
        distances["fd_efflite0"] = EffLite0Distance()
    if fid:
        distances["fid"] = InceptionDistance()
    return Meter(metrics, distances)


@contextmanager
def open_link(
    remote: bool,
    bundles: Path | None,
    device: str,
    threads: int,
    addresses: tuple[str | None, str | None, str | None],
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Iterator[Link | LocalLink]:
    """Open the link to measure."""
    if not remote:
        with LocalLink(bundles=bundles, device=device, threads=threads) as local:
            yield local
        return
    transmitter, channel, receiver = addresses
    with Link(
        transmitter=transmitter, channel=channel, receiver=receiver, timeout_s=timeout_s
    ) as link:
        link.wait_ready(10.0)
        yield link


@contextmanager
def progress(text: str, total: int) -> Iterator[Any]:
    """Show a bar over the images of one cell; yield a function to call after each."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

    from genjscc.cli.progress import LoggedProgress

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with LoggedProgress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(text, total=total)
        yield lambda _: bar.advance(task)
