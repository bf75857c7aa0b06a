# SPDX-License-Identifier: Apache-2.0
"""`genjscc invert`: measure how well a generator can represent images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from genjscc.cli.console import present
from genjscc.cli.measuring import load_dataset, progress
from genjscc.cli.options import (
    GeneratorDevice,
    GeneratorPath,
    Notes,
    NumImages,
    ResultsAndPicture,
    TestImages,
    Threads,
)
from genjscc.cli.output_files import claim
from genjscc.cli.provenance import origin
from genjscc.cli.quality_tables import interval
from genjscc.errors import needs

if TYPE_CHECKING:
    from torch import Tensor

    from genjscc.evaluation.ceiling import Fit

_BATCH = 16


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(invert)


def invert(
    generator: GeneratorPath,
    data: TestImages,
    results: ResultsAndPicture,
    num: NumImages = 64,
    steps: Annotated[int, typer.Option(help="Of the optimisation.")] = 300,
    device: GeneratorDevice = "cpu",
    threads: Threads = 1,
    notes: Notes = "",
) -> None:
    """Fit latents and noise maps to images, without a channel.

    What comes out is the best that InverseJSCC and GenerativeJSCC can reach with the generator.
    """
    with needs("train", "inversion"):
        import torch

        from genjscc.evaluation.ceiling import ceiling_config
        from genjscc.evaluation.ceiling import invert as fit_latents
        from genjscc.evaluation.records import InversionRecord, ResultFile, write_results
        from genjscc.quality.statistics import mean_of
        from receiver.stylegan2.checkpoints import load_generator
    picture = results.with_suffix(".png")
    claim(results, picture, inputs=[data, generator])
    torch.set_num_threads(threads)
    made_by = origin()
    network = load_generator(generator).to(device).requires_grad_(False)
    images = load_dataset(data, num, network.size, "", "")
    targets = torch.stack([torch.from_numpy(i).permute(2, 0, 1) for i in images.images])
    targets = targets.to(device).float() / 255
    found: list[Fit] = []
    for start in range(0, len(targets), _BATCH):
        batch = targets[start : start + _BATCH]
        with progress(f"images {start + 1} to {start + len(batch)}", steps) as note:
            found.append(fit_latents(network, batch, ceiling_config(steps), lambda s, _: note(s)))
    fields = {
        name: mean_of(torch.cat([getattr(part, name) for part in found]).tolist())
        for name in ("psnr_db", "st_lpips_vgg", "st_lpips_alex")
    }
    record = InversionRecord(
        generator=generator.name,
        dataset=images.name,
        split=images.split,
        n=len(targets),
        image_size=images.size,
        steps=steps,
        **fields,
    )
    write_results(results, ResultFile(**made_by, notes=notes, inversions=[record]))
    save_pairs(picture, targets, torch.cat([part.images for part in found]))
    table = Table("generator", "images", "PSNR / dB", "ST-LPIPS VGG", "ST-LPIPS Alex")
    quality = (interval(fields[name], 3) for name in fields)
    table.add_row(generator.name, str(len(targets)), *quality)
    present(table, f"written: {results}, {picture}", results=[record], files=[results, picture])


def save_pairs(path: Path, targets: Tensor, found: Tensor) -> None:
    """Save rows of originals, each above its row of inversions. Both [N, 3, S, S] in [0, 1]."""
    import torch
    from torchvision.utils import save_image

    columns = min(_BATCH, len(targets))
    rows: list[Tensor] = []
    for start in range(0, len(targets), columns):
        for images in (targets[start : start + columns], found[start : start + columns]):
            white = torch.ones(columns - len(images), *images.shape[1:], device=images.device)
            rows += [images, white]
    save_image(torch.cat(rows), path, nrow=columns, padding=0)
