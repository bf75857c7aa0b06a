# SPDX-License-Identifier: Apache-2.0
"""`genjscc convert-stylegan2`: convert other projects' generators to bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genjscc.cli.console import present
from genjscc.cli.output_files import claim_bundle
from genjscc.errors import needs


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("convert-stylegan2")(convert)


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="rosinality's or BasicSR's .pt or .pth.")],
    folder: Annotated[Path, typer.Argument(help="Folder to write.")],
    licence: Annotated[str, typer.Option(help="Terms of the weights, for the card.")],
    domain: Annotated[str, typer.Option(help="What it was trained on, for the card.")],
) -> None:
    """Convert a StyleGAN2 checkpoint to a bundle; nothing in the file is executed."""
    with needs("models", "conversion"):
        from receiver.stylegan2.checkpoints import load_generator, save_bundle
    claim_bundle(folder, inputs=[checkpoint])
    generator = load_generator(checkpoint)
    size = generator.size
    card = (
        f"# {folder.name}\n\nA StyleGAN2 generator of {size}x{size} pixels, converted from "
        f"{checkpoint.name}.\n\nTrained on: {domain}\n\nLicence: {licence}\n"
    )
    save_bundle(generator, folder, card)
    present(
        f"{folder}: {size}x{size} pixels",
        results=[{"generator": folder.name, "image_size": size}],
        files=[folder],
    )
