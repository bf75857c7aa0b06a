# SPDX-License-Identifier: Apache-2.0
"""`genjscc samples`: draw samples of a generator and compare them with real images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from genjscc.cli.console import present
from genjscc.cli.measuring import load_dataset, progress
from genjscc.cli.options import GeneratorDevice, GeneratorPath, Notes, ResultsAndPicture, Threads
from genjscc.cli.output_files import claim
from genjscc.cli.provenance import origin
from genjscc.cli.quality_tables import interval
from genjscc.errors import InvalidInputError, needs

if TYPE_CHECKING:
    from receiver.stylegan2.generator import Generator

_COLUMNS, _ROWS = 16, 4
_TRUNCATED = 0.7


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(samples)


def samples(
    generator: GeneratorPath,
    data: Annotated[Path, typer.Argument(help="Folder of real images to compare with.")],
    results: ResultsAndPicture,
    num: Annotated[int, typer.Option(help="Samples of a set.")] = 1000,
    sets: Annotated[int, typer.Option(help="Sets; the intervals are over them.")] = 5,
    references: Annotated[int, typer.Option(help="Real images, evenly spaced; 0: all.")] = 2900,
    psi: Annotated[float, typer.Option(help="Truncation, from 0 to 1; 1: none.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the first set; set i has SEED + i.")] = 0,
    device: GeneratorDevice = "cpu",
    threads: Threads = 1,
    notes: Notes = "",
) -> None:
    """Draw samples of a generator; measure FD-EffLite0, coverage and density.

    FD-EffLite0 falls with the number of samples: compare figures of equal sets only.
    """
    with needs("train", "samples"):
        import torch

        from genjscc.evaluation.records import ResultFile, SamplesRecord, write_results
        from genjscc.evaluation.samples import compare_samples, features_of
        from genjscc.quality.frechet import EffLite0Features, Reference
        from genjscc.quality.statistics import mean_of
        from receiver.stylegan2.checkpoints import load_generator
    if not 0 <= psi <= 1:
        raise InvalidInputError("--psi", f"got {psi:g}; must be from 0 to 1")
    if sets < 2 or num < 2:
        raise InvalidInputError(
            "--sets" if sets < 2 else "--num", f"got {min(sets, num)}; an interval needs two"
        )
    picture = results.with_suffix(".png")
    claim(results, picture, inputs=[data, generator])
    torch.set_num_threads(threads)
    made_by = origin()
    network = load_generator(generator).to(device).requires_grad_(False)
    features = EffLite0Features().to(device)
    images = load_dataset(data, references, network.size, "", "")
    real = [torch.from_numpy(i).permute(2, 0, 1).to(device).float() / 255 for i in images.images]
    # Density and coverage look at the first ones only, and names come in groups.
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(0)).tolist()
    reference = Reference(features_of(features, [real[i] for i in order]))
    found = []
    for number in range(sets):
        with progress(f"set {number + 1} of {sets}", num) as note:
            one = compare_samples(
                network, features, reference, count=num, psi=psi, seed=seed + number, note=note
            )
        found.append(one)
    record = SamplesRecord(
        generator=generator.name,
        dataset=images.name,
        split=images.split,
        references=len(real),
        n=num,
        image_size=f"{network.size}x{network.size}",
        psi=psi,
        seed=seed,
        fd_efflite0=mean_of([one.distances.frechet for one in found]),
        coverage=mean_of([one.distances.coverage for one in found]),
        density=mean_of([one.distances.density for one in found]),
        noise_change=mean_of([one.noise_change for one in found]),
    )
    write_results(results, ResultFile(**made_by, notes=notes, samples=[record]))
    save_sheet(picture, network, seed)
    title = f"{generator.name}, {sets} sets of {num}"
    table = Table("FD-EffLite0", "coverage", "density", "noise", title=title)
    fields = ("fd_efflite0", "coverage", "density", "noise_change")
    quality = (interval(getattr(record, name), 3) for name in fields)
    table.add_row(*quality)
    present(table, f"written: {results}, {picture}", results=[record], files=[results, picture])


def save_sheet(path: Path, generator: Generator, seed: int) -> None:
    """Save rows of truncated samples (psi 0.7) above rows of the same samples untruncated."""
    import torch
    from torchvision.utils import save_image

    from genjscc.evaluation.samples import draw

    rows = [draw(generator, _COLUMNS * _ROWS, psi=psi, seed=seed)[0] for psi in (_TRUNCATED, 1.0)]
    save_image(torch.cat(rows), path, nrow=_COLUMNS, padding=0)
