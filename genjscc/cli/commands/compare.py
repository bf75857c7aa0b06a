# SPDX-License-Identifier: Apache-2.0
"""`genjscc compare`: the same photos by several models, on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from genjscc.cli.console import present
from genjscc.cli.inversion_options import InversionPairs, inversion_of
from genjscc.cli.measuring import load_dataset, parse_snrs, progress
from genjscc.cli.model_choice import choose_models, scheme_name
from genjscc.cli.options import Bundles, Device, Seed, Snrs
from genjscc.cli.output_files import claim, save_picture
from genjscc.client.inversion import InversionOptions
from genjscc.client.local import LocalLink
from genjscc.client.options import Failure, ModelInfo, SchemeName
from genjscc.errors import InvalidInputError, needs
from genjscc.photos import load_square, sample_photos
from genjscc.quality.psnr import psnr_db
from genjscc.report.sheet import Group, Tile, draw_sheet

if TYPE_CHECKING:
    from genjscc.quality.metrics import Metric

Rgb = NDArray[np.uint8]
_TITLES = {"deepjscc": "DeepJSCC", "generative": "GenerativeJSCC", "inverse": "InverseJSCC"}


@dataclass(frozen=True)
class Series:
    """One column of each SNR: a model and its scheme."""

    model: ModelInfo
    scheme: SchemeName


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(compare)


def compare(
    picture: Annotated[Path, typer.Argument(help="PNG file to write.")],
    model: Annotated[
        list[str], typer.Option(help="Model; repeatable, in the order of the columns.")
    ],
    scheme: Annotated[
        list[str] | None,
        typer.Option(help="Scheme; repeatable, one column each. Default: the model's own."),
    ] = None,
    inversion: InversionPairs = None,
    rate: Annotated[
        str, typer.Option(help="Bandwidth ratio, which all models must support.")
    ] = "1/768",
    snr_db: Snrs = "-5,-1,5",
    photo: Annotated[
        list[Path] | None, typer.Option(help="Photo; repeatable. Default: the sample photos.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of images to use instead of photos.")
    ] = None,
    num: Annotated[int, typer.Option(help="Number of images to take, evenly spaced.")] = 6,
    seed: Seed = 0,
    bundles: Bundles = None,
    device: Device = "cpu",
) -> None:
    """Draw the same photos with the same noise for several models and schemes.

    As the paper's Fig. 7 and 9. One row per photo: the original, then for each SNR one column per
    model and scheme. Below each picture stand its PSNR and its ST-LPIPS (VGG; lower is better).
    Central squares of photos are used.
    """
    with needs("train", "comparison"):
        from genjscc.quality.metrics import perceptual_metric
    snrs = parse_snrs(snr_db, "--snr-db")
    claim(picture, inputs=[*(photo or ()), *([data] if data else [])])
    with LocalLink(bundles=bundles, device=device) as link:
        models = choose_models(link.models(), model)
        series = [
            Series(one, scheme_name(wanted or None) or one.scheme)
            for one, wanted in product(models, scheme or [""])
        ]
        images = _images(models, photo, data, num)
        metric = perceptual_metric("st-lpips-vgg")
        send = partial(_receive, link, images, rate, seed, inversion_of(inversion))
        received = {(one, snr): send(one, snr) for snr, one in product(snrs, series)}
    groups = [Group("original", [""], [[Tile(image, "")] for image in images])]
    for snr in snrs:
        columns = [received[one, snr] for one in series]
        rows = [
            [Tile(got, _caption(metric, image, got)) for got in row]
            for image, *row in zip(images, *columns, strict=True)
        ]
        groups.append(Group(f"SNR {snr:+g} dB", _headings(series), rows))
    side = images[0].shape[0]
    title = f"{_subject(series)}: rho = {rate}, {side}x{side} pixels, AWGN; PSNR and ST-LPIPS (VGG)"
    save_picture(draw_sheet(title, groups), picture)
    present(f"picture: {picture}", files=[picture])


def _images(
    models: Sequence[ModelInfo], photos: Sequence[Path] | None, data: Path | None, num: int
) -> list[Rgb]:
    if photos and data:
        raise InvalidInputError("--data", "goes without --photo")
    side = models[0].image_size
    if data is not None:
        return list(load_dataset(data, num, side, "", "").images)
    return [load_square(path, side) for path in photos or sample_photos()]


def _receive(
    link: LocalLink,
    images: Sequence[Rgb],
    rate: str,
    seed: int,
    inversion: InversionOptions | None,
    series: Series,
    snr_db: float,
) -> list[Rgb]:
    received = []
    name, scheme = series.model.name, series.scheme
    with progress(f"{name}, {scheme}, {snr_db:+g} dB", len(images)) as note:
        for outcome in link.send_many(
            images,
            snr_db=snr_db,
            rate=rate,
            model=name,
            scheme=scheme,
            seed=seed,
            inversion=inversion if scheme == "inverse" else None,
        ):
            if isinstance(outcome, Failure):
                raise outcome.error
            received.append(outcome.image)
            note(outcome)
    return received


def _headings(series: Sequence[Series]) -> list[str]:
    """Return column titles: the schemes, with or replaced by the bundles' names if they are
    ambiguous.
    """
    schemes = [one.scheme for one in series]
    names = [one.model.name for one in series]
    if len(set(schemes)) == len(schemes):
        return [_TITLES[scheme] for scheme in schemes]
    if len(set(names)) == len(names):
        return names
    return [f"{name}, {scheme}" for name, scheme in zip(names, schemes, strict=True)]


def _subject(series: Sequence[Series]) -> str:
    """Return what differs between the columns: schemes, bundles, or schemes of several bundles."""
    schemes = list(dict.fromkeys(_TITLES[one.scheme] for one in series))
    names = list(dict.fromkeys(one.model.name for one in series))
    if max(len(schemes), len(names)) == len(series):
        return " and ".join(_headings(series))
    return f"{' and '.join(schemes)} of {' and '.join(names)}"


def _caption(metric: Metric, image: Rgb, received: Rgb) -> str:
    import torch

    x, x_hat = (
        torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None].float() / 255
        for pixels in (image, received)
    )
    distance = float(metric.compare(metric.prepare(x), x_hat))
    return f"{psnr_db(image, received):.1f} dB, {distance:.3f}"
