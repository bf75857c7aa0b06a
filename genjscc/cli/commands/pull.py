# SPDX-License-Identifier: Apache-2.0
"""`genjscc pull` and `genjscc push`: models by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
from rich.table import Table

from genjscc.cli.console import err, present
from genjscc.cli.output_files import overwrites
from genjscc.cli.progress import LoggedProgress
from genjscc.errors import needs

_SOURCE = (
    "ORG/NAME[@REVISION] of the Hugging Face Hub, URL of a folder, or a folder as ./mirror/NAME."
)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(pull)
    app.command()(push)


def pull(
    source: Annotated[str, typer.Argument(help=_SOURCE)],
    bundles: Annotated[
        Path | None,
        typer.Option(help="Folder of models to put it into; default: the cache, for LocalLink."),
    ] = None,
    sha256: Annotated[
        str | None, typer.Option(help="Refuse any other config.json than the one of this SHA-256.")
    ] = None,
) -> None:
    """Fetch a published model, and the generator that it needs.

    Every weight file is checked against the SHA-256 in the model's config.json. A broken download
    resumes.
    """
    with needs("models", "pull"):
        from genjscc.bundles.pull import cache_folder
        from genjscc.bundles.pull import pull as fetch
        from genjscc.bundles.sources import source_of

    place = source_of(source)
    root = bundles or cache_folder(place)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    with LoggedProgress(*columns, TransferSpeedColumn(), console=err) as bars:
        tasks = {}

        def show(name: str, have: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name)
            bars.update(tasks[name], completed=have, total=total or None)

        pulled = fetch(place, root, sha256=sha256, replace=overwrites(), progress=show)
    table = Table("model", "source", "folder", "SHA-256 of config.json")
    for one in pulled:
        table.add_row(one.name, one.source, str(one.folder), one.sha256)
    present(table, results=pulled, files=[one.folder for one in pulled if one.fetched])


def push(
    bundle: Annotated[Path, typer.Argument(help="Folder of the model, as models/faces64.")],
    target: Annotated[
        str, typer.Argument(help="ORG/NAME of the Hugging Face Hub, or a folder of models.")
    ],
    private: Annotated[bool, typer.Option(help="Make a new repository private.")] = False,
) -> None:
    """Publish a model, and the generator that it needs.

    Any web server can offer the folder: `python -m http.server` does.
    """
    with needs("models", "push"):
        from genjscc.bundles.pull import push as publish
        from genjscc.bundles.sources import source_of

    pushed = publish(bundle, source_of(target), replace=overwrites(), private=private)
    table = Table("model", "target", "SHA-256 of config.json")
    for one in pushed:
        table.add_row(one.name, target, one.sha256)
    present(table, results=pushed)
