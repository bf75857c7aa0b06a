# SPDX-License-Identifier: Apache-2.0
"""`genjscc train ...` and `genjscc export`: from images to a bundle."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genjscc.cli.console import err, out
from genjscc.errors import InvalidInputError, MissingExtraError

if TYPE_CHECKING:
    from genjscc.training.deepjscc import DeepJSCCTraining

train_app = typer.Typer(help="Train a scheme on a folder of images.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(train_app, name="train")
    app.command()(export)


@train_app.command()
def deepjscc(
    config: Annotated[Path, typer.Argument(help="YAML file; configs/train/ has some.")],
    run: Annotated[Path, typer.Argument(help="Folder of the run; one with a checkpoint goes on.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder with train/ and val/, in place of the file's.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE in place of the file's.")
    ] = None,
    devices: Annotated[int, typer.Option(help="Processes, one device each.")] = 1,
    accelerator: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    precision: Annotated[str, typer.Option(help="32-true or bf16-mixed.")] = "bf16-mixed",
    threads: Annotated[
        int, typer.Option(help="CPU threads of each process; 0: the cores divided among them.")
    ] = 0,
) -> None:
    """Train a DeepJSCC pair; Ctrl-C saves, the same command goes on.

    On small CPUs several single-thread processes (--devices 2 --accelerator cpu) are faster
    than one with many threads. torchrun starts the same command on many machines.
    """
    try:
        import torch
        from lightning_fabric import Fabric

        from genjscc.training.config import load_config
        from genjscc.training.deepjscc import fit
    except ImportError as error:
        raise MissingExtraError(
            f"training needs {error.name!r}: pip install 'genjscc[train]'"
        ) from error
    overrides = parse_overrides(set_ or [])
    if data is not None:
        overrides |= {"train": str(data / "train"), "val": str(data / "val")}
    settings = load_config(config, overrides)
    torch.set_num_threads(threads or max(1, (os.cpu_count() or 1) // devices))
    fabric = Fabric(accelerator=accelerator, devices=devices, precision=precision)  # type: ignore[arg-type]
    fabric.launch()
    display = ProgressDisplay(shown=fabric.is_global_zero)
    with display:
        training = fit(settings, run, fabric, display.update)
    if fabric.is_global_zero:
        state = "finished" if training.finished else "stopped; the same command goes on"
        out.print(f"{state}: {training.images} images, checkpoint in {run}", soft_wrap=True)


def parse_overrides(pairs: list[str]) -> dict[str, object]:
    """FIELD=VALUE pairs; values as YAML reads them.

    Raises:
        InvalidInputError: not of that form.
    """
    import yaml

    overrides: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InvalidInputError("--set", f"got {pair!r}; must be FIELD=VALUE")
        overrides[name] = yaml.safe_load(value)
    return overrides


class ProgressDisplay:
    """A bar with images/s, time left and the loss terms; validation as lines above it."""

    def __init__(self, *, shown: bool) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]:.0f} images/s"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[terms]}"),
            console=err,
            disable=not shown,
        )
        self._task = self._progress.add_task("train", total=None, speed=0.0, terms="")
        self._first: tuple[int, float] | None = None

    def __enter__(self) -> None:
        self._progress.start()

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, training: DeepJSCCTraining, values: dict[str, float]) -> None:
        """Called after each step with the loss terms, and after each validation."""
        if self._progress.disable:
            return
        if "mse" not in values:
            psnr = "  ".join(
                f"{name[5:]} {value:.2f}" for name, value in values.items() if name[:5] == "psnr_"
            )
            self._progress.console.print(
                f"{training.images} images: validation loss {values['loss']:.4f}; PSNR/dB {psnr}"
            )
            return
        now = (training.images, time.monotonic())
        first = self._first = self._first or now
        elapsed = now[1] - first[1]
        self._progress.update(
            self._task,
            total=training.config.images,
            completed=training.images,
            speed=(now[0] - first[0]) / elapsed if elapsed else 0.0,
            terms="  ".join(f"{name} {value:.4f}" for name, value in values.items()),
        )


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    name: Annotated[str, typer.Argument(help="Name of the bundle.")],
    domain: Annotated[str, typer.Option(help="What it was trained on, for the card.")],
    licence: Annotated[str, typer.Option(help="Terms of the weights, for the card.")],
    notes: Annotated[str, typer.Option(help="More for the card.")] = "",
    bundles: Annotated[Path, typer.Option(help="Folder of the bundles.")] = Path("models"),
) -> None:
    """Make a bundle of a run's weights."""
    from genjscc.training.export import export_run

    config = export_run(run, bundles, name=name, domain=domain, licence=licence, notes=notes)
    out.print(f"{bundles / name}: pair {config.pair_id}", soft_wrap=True)
