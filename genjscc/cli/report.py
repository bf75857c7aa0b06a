# SPDX-License-Identifier: Apache-2.0
"""`genjscc report` and `genjscc receiver-time`."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from genjscc.cli.choice import choose_model
from genjscc.cli.console import err, present
from genjscc.cli.evaluate import load_dataset, make_meter, progress
from genjscc.cli.inversion import InversionPairs, inversion_of
from genjscc.cli.origin import origin
from genjscc.cli.quality_tables import interval
from genjscc.cli.send import scheme_name
from genjscc.client.local import LocalLink
from genjscc.errors import MissingExtraError
from genjscc.repository import REPOSITORY


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(report)
    app.command("receiver-time")(receiver_time)


def report(
    results: Annotated[Path, typer.Option(help="Folder of result files.")] = Path("results"),
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the page, which is written anew.")
    ] = Path("docs/report"),
    pictures: Annotated[
        Path, typer.Option(help="List of sheets to show: JSON with file, caption, command.")
    ] = Path("docs/images/sheets.json"),
    bundles: Annotated[
        Path | None, typer.Option(help="Folder of the trained models; the figures show these.")
    ] = None,
) -> None:
    """Make one page of all results: HTML without attachments, and Markdown with figures.

    Works with whatever results are there and says what is missing.
    """
    try:
        from genjscc.report.build import build_report
    except ImportError as error:
        raise MissingExtraError(
            f"the report needs {error.name!r}: pip install 'genjscc[train]'"
        ) from error
    with err.status("drawing"):
        made = build_report(results, output, bundles or REPOSITORY / "models", pictures)
    for name, reason in made.skipped:
        err.print(f"skipped {name}: {reason}", soft_wrap=True, markup=False)
    present(
        f"{made.num_records} records of {made.num_files} files",
        f"written: {made.html}, {made.markdown}",
        results=[{"records": made.num_records, "result_files": made.num_files}],
        files=[made.html, made.markdown],
    )


def receiver_time(
    data: Annotated[Path, typer.Argument(help="Folder of test images.")],
    results: Annotated[Path, typer.Argument(help="JSON file to write, as results/time.json.")],
    model: Annotated[str | None, typer.Option(help="Model; default: the first.")] = None,
    scheme: Annotated[
        str | None, typer.Option(help="deepjscc, generative or inverse; default: the model's own.")
    ] = None,
    rate: Annotated[str, typer.Option(help="Bandwidth ratio.")] = "1/192",
    snr_db: Annotated[float, typer.Option("--snr-db", help="SNR in dB.")] = 0.0,
    inversion: InversionPairs = None,
    num: Annotated[int, typer.Option(help="Images, evenly spaced over the folder.")] = 16,
    size: Annotated[int, typer.Option(help="Central squares of that side; 0: as they are.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the noise; image number i has SEED + i.")] = 0,
    perceptual: Annotated[
        str, typer.Option(help="Perceptual distances with commas, auto or none.")
    ] = "auto",
    dataset: Annotated[str, typer.Option(help="Its name; default: the folder's parent.")] = "",
    split: Annotated[str, typer.Option(help="Its split; default: the folder's name.")] = "",
    notes: Annotated[str, typer.Option(help="A remark for the file.")] = "",
    bundles: Annotated[Path | None, typer.Option(help="Folder of the trained models.")] = None,
    device: Annotated[str, typer.Option(help="PyTorch device of the networks.")] = "cpu",
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
) -> None:
    """Measure how long the receiver computes on one image alone, and what comes out.

    Run it on an idle machine: the time is that of the clock.
    """
    try:
        import torch

        from genjscc.evaluation.receiver_time import Machine, TimedFile, time_receiver
        from genjscc.evaluation.records import write_results
        from genjscc.evaluation.sweep import Cell
    except ImportError as error:
        raise MissingExtraError(
            f"receiver-time needs {error.name!r}: pip install 'genjscc[train]'"
        ) from error
    torch.set_num_threads(threads)
    made_by = origin()
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
    """As the system calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
