# SPDX-License-Identifier: Apache-2.0
"""`genjscc compare`: what learned links and a digital one make of the same photos, on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from genjscc.cli.comparison import (
    DigitalCode,
    Received,
    Series,
    over_digital,
    over_model,
    shared_rate,
    suitable,
)
from genjscc.cli.completion import complete_models, complete_rates, complete_schemes
from genjscc.cli.console import present
from genjscc.cli.inversion_options import InversionPairs, inversion_of
from genjscc.cli.measuring import load_dataset, parse_snrs, progress
from genjscc.cli.model_choice import choose_models, scheme_name
from genjscc.cli.options import Bundles, Device, Seed, Snrs
from genjscc.cli.output_files import (
    claim,
    claim_folder,
    expanded,
    free_name,
    is_picture,
    save_picture,
)
from genjscc.client.availability import TITLES, for_photos
from genjscc.client.inversion import InversionOptions
from genjscc.client.local import LocalLink
from genjscc.client.options import ModelInfo
from genjscc.errors import InvalidInputError, needs
from genjscc.photos import ACCEPTED_BY_ALL, load_photo, load_square, reduced_photo, sample_photos
from genjscc.quality.psnr import psnr_db
from genjscc.report.sheet import TILE, Group, Tile, draw_sheet

if TYPE_CHECKING:
    from genjscc.quality.metrics import Metric

Rgb = NDArray[np.uint8]
# Pictures of more pixels than a tile of a sheet has are drawn larger.
_PHOTO_TILE = 320
# A perceptual network keeps about 1 kB for each pixel.
_MOST_JUDGED = 2**20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(compare)


def compare(
    photos: Annotated[
        list[Path] | None,
        typer.Argument(help="Photos, or folders of them. Default: the sample photos."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Model; repeat, in the order of the columns. Default: as above.",
            autocompletion=complete_models,
        ),
    ] = None,
    scheme: Annotated[
        list[str] | None,
        typer.Option(
            help="With --model: scheme; repeat, a column for each. Default: its own.",
            autocompletion=complete_schemes,
        ),
    ] = None,
    inversion: InversionPairs = None,
    rate: Annotated[
        str | None,
        typer.Option(
            help="Bandwidth ratio. Default: 1/48, or the highest that all offer.",
            autocompletion=complete_rates,
        ),
    ] = None,
    snr_db: Snrs = "-5,-1,5",
    size: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Send the central square at SIZE x SIZE pixels; 0: as it is. Default: 0; with "
            "--model or --data, the size of the first model's training.",
        ),
    ] = None,
    digital: Annotated[
        DigitalCode,
        typer.Option(
            help="Channel code of the digital link: ldpc (5G LDPC and QAM, by Sionna), capacity "
            "(an ideal code, an upper bound) or none. Default: ldpc if Sionna is installed, "
            "otherwise capacity; with --model, none."
        ),
    ] = DigitalCode.AUTO,
    digital_snr_db: Annotated[
        float | None,
        typer.Option(
            help="SNR in dB that the digital link is made for; below it nothing arrives, above it "
            "nothing improves. Default: each column's own."
        ),
    ] = None,
    codec: Annotated[
        str, typer.Option(help="Its image codec: jpeg, jpeg2000, webp, avif or bpg.")
    ] = "webp",
    data: Annotated[Path | None, typer.Option(help="Folder of images in place of photos.")] = None,
    num: Annotated[int, typer.Option(help="Of them, evenly spaced over the folder.")] = 6,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Picture to write, or its folder.")
    ] = Path("received"),
    seed: Seed = 0,
    bundles: Bundles = None,
    device: Device = "cpu",
) -> None:
    """Draw what learned links and a digital link make of a photo, with as many symbols each.

    A row for each photo: the original, then for each SNR a column for each link. A photo goes over
    DeepJSCC as it is, by the model that was trained on the largest pictures. A square of a model's
    training size goes over all schemes: `--size 64` makes one of a photo of a face. InverseJSCC
    uses the preset fast. The digital link sends the best file of a codec that fits; it is grey
    where nothing arrived. `--model` chooses the columns, as for the paper's Fig. 7 and 9.

    Below each picture stand its PSNR (higher is better) and, up to one megapixel, its ST-LPIPS
    (VGG; lower is better).

    No service is needed: `genjscc compare photo.jpg --rate 1/16 --snr-db=0,10`, or
    `genjscc compare face.jpg --size 64`.
    """
    with needs("inverse", "the comparison"):
        from genjscc.quality.metrics import perceptual_metric

        metric = perceptual_metric("st-lpips-vgg")
    snrs = parse_snrs(snr_db, "--snr-db")
    if photos and data:
        raise InvalidInputError("--data", "goes without photos")
    if scheme and not model:
        raise InvalidInputError("--scheme", "goes with --model, whose columns it chooses")
    paths = expanded(photos or sample_photos())
    if is_picture(output):
        claim(output, inputs=[*paths, *([data] if data else [])])
    else:
        claim_folder(output)
    code = digital.chosen(wanted=not model)
    by_code = None
    if code is not DigitalCode.NONE:
        by_code = over_digital(code, codec, digital_snr_db)
    options = inversion_of(inversion)
    with LocalLink(bundles=bundles, device=device) as link:
        offered = link.models()
        models = choose_models(offered, model) if model else [for_photos(offered)]
        if size is None:
            size = models[0].image_size if model or data else 0
        images = _images(paths, data, num, size, models[0])
        if model:
            series = [
                Series(one, scheme_name(wanted or None) or one.scheme)
                for one, wanted in product(models, scheme or [""])
            ]
        else:
            series = suitable(offered, link.decoders(), images, rate)
            options = options or InversionOptions(preset="fast", start="auto")
        rate = rate or shared_rate([one.model for one in series])
        received = {
            (snr, number): over_model(link, images, rate, seed, options, one, snr)
            for snr in snrs
            for number, one in enumerate(series)
        }
    headings = _headings(series)
    if by_code is not None:
        headings = [*headings, f"{codec}, {code.value}"]
        for snr in snrs:
            ks = [got.k for got in received[snr, 0]]
            with progress(f"{codec}, {code.value}, {snr:+g} dB", len(images)) as note:
                received[snr, len(series)] = got = []
                for number, (image, k) in enumerate(zip(images, ks, strict=True)):
                    got.append(by_code(image, k, snr, seed + number))
                    note(None)
    names = [str(path) for path in paths] if data is None else [f"{data}, {i}" for i in range(num)]
    records = [
        {
            "photo": name,
            "link": heading,
            "rate": rate,
            "snr_db": snr,
            "k": got.k,
            "psnr_db": psnr_db(image, got.image),
            "st_lpips_vgg": _distance(metric, image, got.image),
        }
        for snr in snrs
        for column, heading in enumerate(headings)
        for name, image, got in zip(names, images, received[snr, column], strict=False)
    ]
    subject = _subject(series) + (f" and {headings[-1]}" if by_code else "")
    sheet = _sheet(f"{subject}: rho = {rate}", headings, snrs, images, received, records)
    if not is_picture(output):
        output = free_name(output, _name(paths, data, rate, snrs), ".png", inputs=paths)
    save_picture(sheet, output)
    table = _table(records)
    present(table, f"picture: {output}", results=records, files=[output])


def _images(
    photos: Sequence[Path], data: Path | None, num: int, size: int, model: ModelInfo
) -> list[Rgb]:
    if data is not None:
        return list(load_dataset(data, num, size, "", "").images)
    if size:
        return [load_square(path, size) for path in photos]
    most = model.max_pixels or ACCEPTED_BY_ALL
    reduced = (reduced_photo(path, lambda: most) for path in photos)
    return [
        load_photo(path) if one is None else one for path, one in zip(photos, reduced, strict=True)
    ]


def _name(photos: Sequence[Path], data: Path | None, rate: str, snrs: Sequence[float]) -> str:
    """What was sent and how, as a file's name: `photo_compared_1-48_-5_5dB`."""
    what = data.resolve().name if data else photos[0].stem
    more = f"_and_{len(photos) - 1}_more" if not data and len(photos) > 1 else ""
    levels = "_".join(f"{snr:g}" for snr in snrs)
    return f"{what}{more}_compared_{rate.replace('/', '-')}_{levels}dB"


def _sheet(
    title: str,
    headings: Sequence[str],
    snrs: Sequence[float],
    images: Sequence[Rgb],
    received: dict[tuple[float, int], list[Received]],
    records: Sequence[dict[str, Any]],
) -> Any:
    captions = {
        (one["snr_db"], one["link"], i % len(images)): _caption(one)
        for i, one in enumerate(records)
    }
    groups = [Group("original", [""], [[Tile(image, "")] for image in images])]
    for snr in snrs:
        rows = [
            [
                Tile(received[snr, column][row].image, captions[snr, heading, row])
                for column, heading in enumerate(headings)
            ]
            for row in range(len(images))
        ]
        groups.append(Group(f"SNR {snr:+g} dB", headings, rows))
    shapes = {image.shape for image in images}
    if len(shapes) == 1:
        height, width, _ = next(iter(shapes))
        title += f", {width}x{height} pixels"
    judged = " and ST-LPIPS (VGG)" if records[0]["st_lpips_vgg"] is not None else ""
    tile = TILE if max(max(shape) for shape in shapes) <= TILE else _PHOTO_TILE
    return draw_sheet(f"{title}, AWGN; PSNR{judged}", groups, tile)


def _headings(series: Sequence[Series]) -> list[str]:
    """Return column titles: the schemes, with or replaced by the bundles' names if they are
    ambiguous.
    """
    schemes = [one.scheme for one in series]
    names = [one.model.name for one in series]
    if len(set(schemes)) == len(schemes):
        return [TITLES[scheme] for scheme in schemes]
    if len(set(names)) == len(names):
        return names
    return [f"{name}, {scheme}" for name, scheme in zip(names, schemes, strict=True)]


def _subject(series: Sequence[Series]) -> str:
    """What the sheet compares: schemes, bundles, or the schemes of several bundles."""
    schemes = list(dict.fromkeys(TITLES[one.scheme] for one in series))
    names = list(dict.fromkeys(one.model.name for one in series))
    if max(len(schemes), len(names)) == len(series):
        return " and ".join(_headings(series))
    return f"{' and '.join(schemes)} of {' and '.join(names)}"


def _caption(record: dict[str, Any]) -> str:
    distance = record["st_lpips_vgg"]
    quality = f"{record['psnr_db']:.1f} dB"
    return quality if distance is None else f"{quality}, {distance:.3f}"


def _table(records: Sequence[dict[str, Any]]) -> Table:
    """Means over the photos."""
    table = Table("link", "SNR / dB", "PSNR / dB", "ST-LPIPS")
    for link, snr in dict.fromkeys((one["link"], one["snr_db"]) for one in records):
        own = [one for one in records if (one["link"], one["snr_db"]) == (link, snr)]
        distances = [one["st_lpips_vgg"] for one in own if one["st_lpips_vgg"] is not None]
        table.add_row(
            link,
            f"{snr:+g}",
            f"{np.mean([one['psnr_db'] for one in own]):.2f}",
            f"{np.mean(distances):.3f}" if distances else "-",
        )
    return table


def _distance(metric: Metric, image: Rgb, received: Rgb) -> float | None:
    if image.shape[0] * image.shape[1] > _MOST_JUDGED:
        return None
    import torch

    x, x_hat = (
        torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None].float() / 255
        for pixels in (image, received)
    )
    with torch.inference_mode():
        return float(metric.compare(metric.prepare(x), x_hat))
