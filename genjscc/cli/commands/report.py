# SPDX-License-Identifier: Apache-2.0
"""`genjscc report`: all results on one page, or every curve as data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genjscc.cli.console import err, present
from genjscc.cli.output_files import claim, claim_folder
from genjscc.errors import needs
from genjscc.repository import default_models


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)


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
    csv: Annotated[
        Path | None, typer.Option(help="Write every curve to this CSV file, and no page.")
    ] = None,
    mat: Annotated[
        Path | None, typer.Option(help="Write every curve to this MATLAB file, and no page.")
    ] = None,
) -> None:
    """Write all results to one page: HTML without attachments, and Markdown with figures.

    Works with whatever results are there and says what is missing. With --csv or --mat, exports
    every curve instead.
    """
    if csv is not None or mat is not None:
        _export(results, csv, mat)
        return
    with needs("train", "the report"):
        from genjscc.report.build import build_report
    claim_folder(output)
    with err.status("drawing"):
        made = build_report(results, output, bundles or default_models(), pictures)
    for name, reason in made.skipped:
        err.print(f"skipped {name}: {reason}", soft_wrap=True)
    present(
        f"{made.num_records} records of {made.num_files} files",
        f"written: {made.html}, {made.markdown}",
        results=[{"records": made.num_records, "result_files": made.num_files}],
        files=[made.html, made.markdown],
    )


def _export(results: Path, csv: Path | None, mat: Path | None) -> None:
    with needs("train", "the export of curves"):
        from genjscc.report.export import all_curves, write_csv, write_mat
        from genjscc.report.sources import read_folder
    files = [path for path in (csv, mat) if path is not None]
    claim(*files)
    sources = read_folder(results)
    for name, reason in sources.skipped:
        err.print(f"skipped {name}: {reason}", soft_wrap=True)
    curves = all_curves(sources, results)
    if csv is not None:
        write_csv(csv, curves)
    if mat is not None:
        write_mat(mat, curves)
    points = sum(len(curve.points) for curve in curves)
    present(
        f"{len(curves)} curves, {points} points",
        *(f"written: {path}" for path in files),
        results=[{"curves": len(curves), "points": points}],
        files=files,
    )
