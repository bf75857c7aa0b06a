# SPDX-License-Identifier: Apache-2.0
"""`genjscc receiver-time`: the receiver's computing time on one image."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from genjscc.cli.completion import complete_models, complete_rates, complete_schemes
from genjscc.cli.console import present
from genjscc.cli.inversion_options import InversionPairs, inversion_of
from genjscc.cli.measuring import load_dataset, make_meter, progress
from genjscc.cli.model_choice import choose_model, scheme_name
from genjscc.cli.options import (
    Bundles,
    DatasetName,
    Device,
    Notes,
    NumImages,
    Perceptual,
    Seed,
    Size,
    SplitName,
    TestImages,
    Threads,
)
from genjscc.cli.output_files import claim
from genjscc.cli.provenance import origin
from genjscc.cli.quality_tables import interval
from genjscc.client.local import LocalLink
from genjscc.errors import needs


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("receiver-time")(receiver_time)


def receiver_time(
    data: TestImages,
    results: Annotated[Path, typer.Argument(help="JSON file to write, as results/time.json.")],
    model: Annotated[
        str | None, typer.Option(help="Model; default: the first.", autocompletion=complete_models)
    ] = None,
    scheme: Annotated[
        str | None,
        typer.Option(
            help="deepjscc, generative or inverse; default: the model's own.",
            autocompletion=complete_schemes,
        ),
    ] = None,
    rate: Annotated[
        str, typer.Option(help="Bandwidth ratio.", autocompletion=complete_rates)
    ] = "1/192",
    snr_db: Annotated[float, typer.Option("--snr-db", help="SNR in dB.")] = 0.0,
    inversion: InversionPairs = None,
    num: NumImages = 16,
    size: Size = 0,
    seed: Seed = 0,
    perceptual: Perceptual = "auto",
    dataset: DatasetName = "",
    split: SplitName = "",
    notes: Notes = "",
    bundles: Bundles = None,
    device: Device = "cpu",
    threads: Threads = 1,
) -> None:
    """Measure the receiver's computing time on single images, and the quality of its results.

    Run it on an idle machine: the time is that of the clock.
    """
    with needs("train", "receiver-time"):
        import torch

        from genjscc.evaluation.receiver_time import Machine, TimedFile, time_receiver
        from genjscc.evaluation.records import write_results
        from genjscc.evaluation.sweep import Cell
    torch.set_num_threads(threads)
    made_by = origin()
    claim(results, inputs=[data])
    images = load_dataset(data, num, size, dataset, split)
    meter = make_meter(perceptual=perceptual, frechet=False, fid=False)
    link: Any
    with LocalLink(bundles=bundles, device=device, threads=threads, max_batch=1) as link:
        chosen = choose_model(link.models(), model, scheme_name(scheme))
        wanted = scheme_name(scheme) or chosen.scheme
        with progress(f"{chosen.name}, {wanted}", len(images.images)) as note:
            record = time_receiver(
                link,
                chosen,
                images,
                Cell(rate, snr_db),
                meter,
                scheme=wanted,
                machine=Machine(processor_name(), threads),
                inversion=inversion_of(inversion),
                seed=seed,
                note=note,
            )
    write_results(results, TimedFile(**made_by, notes=notes, records=[record]))
    table = Table("s per image", "PSNR", "ST-LPIPS VGG")
    table.title = f"{chosen.name}, {wanted}, {rate}, {snr_db:+g} dB"
    table.add_row(
        interval(record.receiver_seconds, 4),
        interval(record.psnr_db, 2),
        interval(record.st_lpips_vgg, 3),
    )
    present(table, f"written: {results}", results=[record], files=[results])


def processor_name() -> str:
    """Return the name of the processor, as given by the operating system."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
