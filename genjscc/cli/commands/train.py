# SPDX-License-Identifier: Apache-2.0
"""`genjscc train ...`: train networks on images."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from genjscc.cli.console import err, present
from genjscc.errors import InvalidInputError, needs

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Loaded = tuple[Any, Callable[..., Any]]
Values = dict[str, float]
train_app = typer.Typer(help="Train a scheme on a folder of images.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(train_app, name="train")


Config = Annotated[Path, typer.Argument(help="YAML file; configs/train/ has some.")]
Run = Annotated[Path, typer.Argument(help="Folder of the run; one with a checkpoint goes on.")]
Data = Annotated[
    Path | None, typer.Option(help="Folder with train/ and val/, in place of the file's.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="FIELD=VALUE in place of the file's.")
]
Devices = Annotated[int, typer.Option(help="Processes, one device each.")]
Accelerator = Annotated[str, typer.Option(help="cpu, cuda or auto.")]
Precision = Annotated[
    str,
    typer.Option(help="32-true, bf16-mixed, or auto: the latter where the device is made for it."),
]
Threads = Annotated[
    int, typer.Option(help="CPU threads of each process; 0: the cores divided among them.")
]


@dataclass(frozen=True)
class Scheme:
    """One kind of training.

    Attributes:
        load: imports it.
        validation: the values to show of a row that is a validation; empty for a step.
        help: text of its command.
    """

    load: Callable[[], Loaded]
    validation: Callable[[Values], Values]
    help: str


def _deepjscc() -> Loaded:
    from genjscc.training.config import DeepJSCCConfig
    from genjscc.training.deepjscc import fit

    return DeepJSCCConfig, fit


def _generative() -> Loaded:
    from genjscc.training.config import GenerativeJSCCConfig
    from genjscc.training.generative import fit

    return GenerativeJSCCConfig, fit


def _start() -> Loaded:
    from genjscc.training.initialiser import LatentStartConfig, fit

    return LatentStartConfig, fit


def _stylegan2() -> Loaded:
    from genjscc.training.stylegan2.config import StyleGAN2Config
    from genjscc.training.stylegan2.fit import fit

    return StyleGAN2Config, fit


def _of_pairs(values: Values) -> Values:
    psnr = {name[5:]: v for name, v in values.items() if name.startswith("psnr_")}
    return {"validation loss": values["loss"]} | psnr if psnr else {}


def _of_generators(values: Values) -> Values:
    return values if "fd_efflite0" in values else {}


SCHEMES = {
    "deepjscc": Scheme(
        _deepjscc,
        _of_pairs,
        """Train a DeepJSCC pair; Ctrl-C saves, the same command goes on.

        On small CPUs several single-thread processes (--devices 2 --accelerator cpu) are faster
        than one with many threads. torchrun starts the same command on many machines.
        """,
    ),
    "generative": Scheme(
        _generative,
        _of_pairs,
        """Train a GenerativeJSCC pair around a frozen generator; Ctrl-C saves, the same goes on.

        In two stages: without, then with noise maps. Devices as for deepjscc.
        """,
    ),
    "start": Scheme(
        _start,
        _of_pairs,
        """Train a network that reads where inversions through a generator begin.

        Ctrl-C saves, the same command goes on; `genjscc export-start` puts it beside the generator.
        """,
    ),
    "stylegan2": Scheme(
        _stylegan2,
        _of_generators,
        """Train a StyleGAN2 generator; Ctrl-C saves, the same command goes on.

        Resume with as many processes as it was started with: they count the images.
        """,
    ),
}


def add_command(name: str, scheme: Scheme) -> None:
    """Add the command of a scheme."""

    @train_app.command(name, help=scheme.help)
    def train(
        config: Config,
        run: Run,
        data: Data = None,
        set_: Overrides = None,
        devices: Devices = 1,
        accelerator: Accelerator = "auto",
        precision: Precision = "auto",
        threads: Threads = 0,
    ) -> None:
        with needs("train", "training"):
            from genjscc.training.config import load_config

            kind, fit = scheme.load()
        settings = load_config(kind, config, parse_overrides(set_ or [], data))
        fabric = launch(devices, accelerator, precision, threads)
        with ProgressDisplay(settings.images, shown=fabric.is_global_zero) as display:

            def report(training: Any, values: Values) -> None:
                if found := scheme.validation(values):
                    display.note(training.images, found)
                else:
                    display.step(training.images, values)

            training = fit(settings, run, fabric, report)
        finish(fabric, run, training.images, training.finished)


for _name, _scheme in SCHEMES.items():
    add_command(_name, _scheme)


def launch(devices: int, accelerator: str, precision: str, threads: int) -> Fabric:
    """Start the processes of a run, each of which returns from this function."""
    with needs("train", "training"):
        import torch
        from lightning_fabric import Fabric

        from genjscc.layers.precision import training_precision
    on_gpu = accelerator in ("cuda", "gpu") or (accelerator == "auto" and torch.cuda.is_available())
    precision = training_precision(precision, "cuda" if on_gpu else "cpu")
    torch.set_num_threads(threads or max(1, (os.cpu_count() or 1) // devices))
    fabric = Fabric(accelerator=accelerator, devices=devices, precision=precision)  # type: ignore[arg-type]
    fabric.launch()
    return fabric


def finish(fabric: Fabric, run: Path, images: int, finished: bool) -> None:
    """Print, on the first process, how a run ended."""
    if fabric.is_global_zero:
        state = "finished" if finished else "stopped; the same command goes on"
        sheets = sorted(run.glob("sheet_*.png"))[-1:]
        present(
            f"{state}: {images} images, checkpoint in {run}",
            *(f"picture: {sheet}" for sheet in sheets),
            results=[{"run": run, "images": images, "finished": finished}],
            files=sheets,
        )


def parse_overrides(pairs: list[str], data: Path | None = None) -> dict[str, object]:
    """Parse FIELD=VALUE pairs, with values in YAML; `data` sets both folders.

    Raises:
        InvalidInputError: not of that form.
    """
    import yaml

    overrides: dict[str, object] = {}
    if data is not None:
        overrides = {"train": str(data / "train"), "val": str(data / "val")}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InvalidInputError("--set", f"got {pair!r}; must be FIELD=VALUE")
        overrides[name] = yaml.safe_load(value)
    return overrides


class ProgressDisplay:
    """A bar with images/s, remaining time and loss terms; validations are printed above it."""

    def __init__(self, images: int, *, shown: bool) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

        from genjscc.cli.progress import LoggedProgress

        self._shown = shown
        self._progress = LoggedProgress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]:.0f} images/s", markup=False),
            TimeRemainingColumn(),
            TextColumn("{task.fields[terms]}", markup=False),
            console=err,
            disable=not shown,
        )
        self._task = self._progress.add_task("train", total=images, speed=0.0, terms="")
        self._first: tuple[int, float] | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def step(self, images: int, terms: dict[str, float]) -> None:
        """Show the position of the run and the terms of its loss after a step."""
        now = time.monotonic()
        first = self._first = self._first or (images, now)
        elapsed = now - first[1]
        self._progress.update(
            self._task,
            completed=images,
            speed=(images - first[0]) / elapsed if elapsed else 0.0,
            terms=_listed(terms),
        )

    def note(self, images: int, values: dict[str, float]) -> None:
        """Print the result of a validation."""
        if self._shown:
            self._progress.console.print(f"{images} images: {_listed(values)}")


def _listed(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())
