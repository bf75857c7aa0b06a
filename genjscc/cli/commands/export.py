# SPDX-License-Identifier: Apache-2.0
"""`genjscc export` and `genjscc export-start`: convert a training run to a bundle."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from genjscc.cli.console import present
from genjscc.cli.output_files import claim_bundle
from genjscc.errors import needs


class StoredType(StrEnum):
    """Types in which a bundle's weights are stored."""

    FLOAT16 = "float16"
    INT8 = "int8"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(export)
    app.command()(export_start)


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    name: Annotated[str, typer.Argument(help="Name of the bundle.")],
    domain: Annotated[str, typer.Option(help="What it was trained on, for the card.")],
    licence: Annotated[str, typer.Option(help="Terms of the weights, for the card.")],
    notes: Annotated[str, typer.Option(help="More for the card.")] = "",
    bundles: Annotated[Path, typer.Option(help="Folder of the bundles.")] = Path("models"),
    weights: Annotated[
        StoredType, typer.Option(help="Type of the stored weights; int8 takes half the space.")
    ] = StoredType.FLOAT16,
) -> None:
    """Write the weights of a training run, of either scheme, as a bundle."""
    with needs("train", "training"):
        import torch

        from genjscc.training.export import export_run

    claim_bundle(bundles / name)
    dtype: torch.dtype = getattr(torch, weights.value)
    config = export_run(
        run, bundles, name=name, domain=domain, licence=licence, notes=notes, dtype=dtype
    )
    present(
        f"{bundles / name}: pair {config.pair_id}",
        results=[{"model": name, "pair_id": config.pair_id}],
        files=[bundles / name],
    )


def export_start(
    run: Annotated[Path, typer.Argument(help="Folder of a run of `train start`.")],
    generator: Annotated[
        Path | None, typer.Option(help="Folder of its generator; default: as in the run.")
    ] = None,
) -> None:
    """Add the initialiser of a training run to the bundle of its generator."""
    with needs("train", "training"):
        from genjscc.training.initialiser import export_start as export_network

    config = export_network(run, generator)
    present(f"{config.name}: now with a start network", results=[{"generator": config.name}])
