# SPDX-License-Identifier: Apache-2.0
"""`genjscc demo`: photographs through three real services, as a picture and a table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from genjscc.cli.completion import complete_models, complete_schemes
from genjscc.cli.console import err, present
from genjscc.cli.local_services import service_flags, started
from genjscc.cli.model_choice import choose_model, scheme_name
from genjscc.cli.options import Bundles, Device, Preview
from genjscc.cli.output_files import claim, save_picture
from genjscc.cli.pictures import show_pictures
from genjscc.cli.receptions import record_of
from genjscc.client.link import Link
from genjscc.client.options import HOPS, ModelInfo, Reception, SchemeName
from genjscc.photos import load_square, sample_photos
from genjscc.quality.psnr import psnr_db
from genjscc.report.sheet import Group, Tile, draw_sheet
from genjscc.service_packages import ROLES

OUTPUT = Path("demo/sheet.png")
SNRS_DB = (-5.0, 0.0, 5.0)
_SEED = 1
_PREVIEW_COLUMNS = 18


@dataclass(frozen=True)
class Shot:
    """One photo at one rate and SNR."""

    rate: str
    snr_db: float
    reception: Reception
    psnr_db: float


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    photo: Annotated[
        list[Path] | None, typer.Option(help="Your own photo; repeat for more.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Model; default: the transmitter's.", autocompletion=complete_models),
    ] = None,
    scheme: Annotated[
        str | None,
        typer.Option(
            help="deepjscc or generative; default: the model's.", autocompletion=complete_schemes
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture.")] = OUTPUT,
    bundles: Bundles = None,
    device: Device = "cpu",
    connect: Annotated[
        bool,
        typer.Option(
            help="Use services that run already, where GENJSCC_TRANSMITTER and so on say."
        ),
    ] = False,
    preview: Preview = True,
) -> None:
    """Send photos through three processes at -5, 0 and 5 dB and each rate; show the results.

    Sample photos unless --photo names others; the central square of a photo is used.
    """
    claim(output, inputs=photo or (), anew=output == OUTPUT)
    with _running_link() if connect else _own_link(bundles, device) as link:
        chosen = choose_model(link.models(), model, scheme)
        paths = photo or sample_photos()
        photos = [load_square(path, chosen.image_size) for path in paths]
        shots = _shoot(link, chosen, photos, scheme_name(scheme))
    sheet = draw_sheet(_title(chosen), _groups(chosen, photos, shots))
    save_picture(sheet, output)
    if preview:
        best = [shot for shot in shots[0] if shot.rate == chosen.bandwidth_ratios[-1]]
        receptions = [(f"{shot.snr_db:+g} dB", shot.reception.image) for shot in best]
        show_pictures([("original", photos[0]), *receptions], columns=_PREVIEW_COLUMNS)
    present(
        _table(chosen, shots),
        f"picture: {output}",
        results=[
            _record(shot, path) for path, row in zip(paths, shots, strict=True) for shot in row
        ],
        files=[output],
    )
    err.print(
        f"means over {len(photos)} photos (noise seeds {_SEED} to {_SEED + len(photos) - 1}); "
        "SNR and PSNR in dB, times in ms"
    )


@contextmanager
def _running_link() -> Iterator[Link]:
    with Link() as link:
        link.wait_ready()
        yield link


@contextmanager
def _own_link(bundles: Path | None, device: str) -> Iterator[Link]:
    flags = {role: service_flags(role, True, bundles, device) for role in ROLES}
    with started(flags) as services, services.connect() as link:
        yield link


def _shoot(
    link: Link, model: ModelInfo, photos: list[NDArray[np.uint8]], scheme: SchemeName | None
) -> list[list[Shot]]:
    """Send all photos; return one list per photo, ordered by rate and SNR."""
    settings = [(rate, snr_db) for rate in model.bandwidth_ratios for snr_db in SNRS_DB]
    columns = (TextColumn("sending", markup=False), BarColumn(), MofNCompleteColumn())
    shots = []
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("send", total=len(photos) * len(settings))
        for number, pixels in enumerate(photos):
            row = []
            for rate, snr_db in settings:
                reception = link.send(
                    pixels,
                    snr_db=snr_db,
                    rate=rate,
                    model=model.name,
                    scheme=scheme,
                    seed=_SEED + number,
                )
                row.append(Shot(rate, snr_db, reception, psnr_db(pixels, reception.image)))
                progress.advance(task)
            shots.append(row)
    return shots


def _title(model: ModelInfo) -> str:
    return f"GenJSCC: {model.name}, {model.image_size}x{model.image_size} pixels, AWGN"


def _groups(
    model: ModelInfo, photos: list[NDArray[np.uint8]], shots: list[list[Shot]]
) -> list[Group]:
    originals = [[Tile(pixels, "")] for pixels in photos]
    groups = [Group("original", [""], originals)]
    for rate in model.bandwidth_ratios:
        rows = [
            [Tile(s.reception.image, f"{s.psnr_db:.1f} dB PSNR") for s in row if s.rate == rate]
            for row in shots
        ]
        k = next(s.reception.codeword.k for s in shots[0] if s.rate == rate)
        heading = f"rho = {rate}: {k} symbols"
        groups.append(Group(heading, [f"SNR {snr_db:+g} dB" for snr_db in SNRS_DB], rows))
    return groups


def _record(shot: Shot, photo: Path) -> dict[str, object]:
    return {"photo": photo, "psnr_db": shot.psnr_db, **record_of(shot.reception, shot.snr_db)}


def _table(model: ModelInfo, shots: list[list[Shot]]) -> Table:
    table = Table(title=f"{model.name}: what crossed the link")
    for name in ("rho", "k", "SNR asked", "measured", "PSNR", *HOPS):
        table.add_column(name, justify="right")
    for same in zip(*shots, strict=True):  # one rate and SNR, all photos
        first = same[0]
        times = [fmean(s.reception.seconds[hop] for s in same) * 1e3 for hop in HOPS]
        table.add_row(
            first.rate,
            str(first.reception.codeword.k),
            f"{first.snr_db:+g}",
            f"{fmean(s.reception.measured_snr_db for s in same):+.2f}",
            f"{fmean(s.psnr_db for s in same):.2f}",
            *(f"{time:.1f}" for time in times),
            end_section=first.snr_db == SNRS_DB[-1],
        )
    return table
