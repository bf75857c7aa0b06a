# SPDX-License-Identifier: Apache-2.0
"""`genjscc export-onnx`: write a model as two ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from genjscc.cli.completion import complete_rates
from genjscc.cli.console import err, present
from genjscc.cli.options import Bundles, parse_size
from genjscc.cli.output_files import claim
from genjscc.errors import needs
from genjscc.repository import default_models
from genjscc.wire.ratios import parse_ratio


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(export_onnx)


def export_onnx(
    model: Annotated[str, typer.Argument(help="DeepJSCC model.")],
    output: Annotated[
        Path, typer.Argument(help="Folder for encoder.onnx and decoder.onnx.")
    ] = Path("onnx"),
    rate: Annotated[
        str | None,
        typer.Option(
            help="Bandwidth ratio; default: the model's highest.", autocompletion=complete_rates
        ),
    ] = None,
    size: Annotated[
        str, typer.Option(help="Timed image, width x height; multiples of 16.")
    ] = "768x512",
    bundles: Bundles = None,
) -> None:
    """Write encoder and decoder as ONNX files with dynamic batch and image size.

    Compares both with PyTorch in onnxruntime, to 1e-4, and reports their time on one core.
    """
    side = parse_size(size)
    ratio = None if rate is None else parse_ratio(rate)
    with needs("models", "the export to ONNX"):
        from genjscc.onnx_export import DECODER, ENCODER
        from genjscc.onnx_export import export_onnx as export
    claim(output / ENCODER, output / DECODER)
    with err.status("exporting and comparing"):
        checks = export(bundles or default_models(), model, output, ratio=ratio, size=side)
    table = Table("file", "size / MB", "largest difference", f"time on one core, {size}")
    for one in checks:
        table.add_row(
            str(one.file),
            f"{one.megabytes:.1f}",
            f"{one.largest_difference:.1e}",
            f"{one.seconds * 1e3:.0f} ms",
        )
    present(table, results=checks, files=[one.file for one in checks])
