# SPDX-License-Identifier: Apache-2.0
"""Checks of output files before the work begins; no existing file is overwritten by accident.

An input is never written over. What lies at the place of an output, from another run or another
program, is written over where `--force` says so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.main
from PIL import Image

from genjscc.errors import InvalidInputError
from genjscc.photos import pictures_below

_WRITTEN = frozenset({".csv", ".jpeg", ".jpg", ".json", ".mat", ".onnx", ".png", ".webp"})
_force: list[bool] = []


def _chosen(value: bool) -> None:
    _force[:] = [value]


_Force = Annotated[
    bool, typer.Option("--force", help="Write over what is there already.", callback=_chosen)
]


def overwrites() -> bool:
    """Return whether `--force` was given."""
    return any(_force)


def force_option() -> Any:
    """Make the option `--force`, which is hidden from the commands' parameters."""

    def declared(force: _Force = False) -> None: ...

    maker = typer.Typer(add_completion=False)
    maker.command()(declared)
    (option,) = (one for one in typer.main.get_command(maker).params if one.name == "force")
    option.expose_value = False
    return option


def claim(*paths: Path, inputs: Iterable[Path] = (), anew: bool = False) -> None:
    """Check that files can and may be written, and make their folders.

    Args:
        *paths: of the files.
        inputs: files, or folders of files, that the command reads.
        anew: the place is known for being written anew.

    Raises:
        InvalidInputError: a folder lies there, an input does, or the output of something else
            without `--force`; or the place cannot be written.
    """
    read = [*inputs]
    for path in paths:
        if path.is_dir():
            raise InvalidInputError("output", f"{path} is a folder; name a file")
        if path.suffix.lower() not in _WRITTEN:
            raise InvalidInputError(
                "output", f"got {path}; must end in one of {', '.join(sorted(_WRITTEN))}"
            )
        if path.exists():
            if any(_is_input(path, one) for one in read):
                raise InvalidInputError("output", f"{path} is an input; name another file")
            if not (anew or overwrites()):
                raise InvalidInputError(
                    "output", f"{path} is there already; --force writes over it"
                )
        claim_folder(path.parent)


def is_picture(path: Path) -> bool:
    """Whether a path names a picture to write, rather than a folder."""
    return path.suffix.lower() in {".jpeg", ".jpg", ".png", ".webp"} and not path.is_dir()


def claim_folder(folder: Path) -> None:
    """Make a folder and check that files can be written to it. Raises InvalidInputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InvalidInputError("output", f"cannot write to {folder}: {error.strerror}") from error


def claim_bundle(folder: Path, *, inputs: Iterable[Path] = ()) -> None:
    """Check the folder of a new bundle, as `claim`; it must be empty."""
    if folder.exists() and not folder.is_dir():
        raise InvalidInputError("output", f"{folder} is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()):
        if any(one.is_dir() and folder.samefile(one) for one in inputs):
            raise InvalidInputError("output", f"{folder} is an input; name another folder")
        if not overwrites():
            raise InvalidInputError("output", f"{folder} is there already; --force writes over it")
    claim_folder(folder.parent)


def free_name(folder: Path, stem: str, suffix: str, *, inputs: Iterable[Path] = ()) -> Path:
    """Return a free file name, with a number if it is taken and `--force` is not given.

    Args:
        folder: where.
        stem: the name without suffix.
        suffix: with its dot.
        inputs: files that are never written over.
    """
    read = [*inputs]
    number = 1
    while True:
        path = folder / f"{stem}{'' if number == 1 else f'-{number}'}{suffix}"
        if not path.exists() or (overwrites() and not any(_is_input(path, one) for one in read)):
            return path
        number += 1


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a picture; the suffix chooses the format. Raises InvalidInputError."""
    try:
        picture.save(path, lossless=True)  # where the format, as WebP, has both
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputError("output", f"cannot write {path}: {reason}") from error


def expanded(paths: Iterable[Path]) -> list[Path]:
    """Expand a list of photos and folders to the photos, and to the pictures in the folders.

    Raises:
        InvalidInputError: a folder holds none.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            below = pictures_below(path)
            if not below:
                raise InvalidInputError("photos", f"there is no picture below {path}")
            found += below
        else:
            found.append(path)
    return found


def _is_input(path: Path, given: Path) -> bool:
    try:
        return path.samefile(given) or (
            given.is_dir() and path.resolve().is_relative_to(given.resolve())
        )
    except OSError:
        return False
