# SPDX-License-Identifier: Apache-2.0
"""`genjscc send`: send photos over the link."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from genjscc.cli.completion import complete_models, complete_rates, complete_schemes
from genjscc.cli.console import described, err, present, report_error
from genjscc.cli.inversion_options import TIMEOUT_S, InversionPairs, inversion_of, send_watched
from genjscc.cli.model_choice import choose_model, scheme_name
from genjscc.cli.options import (
    ChannelAddress,
    ChannelName,
    OfdmPairs,
    Preview,
    Receiver,
    SnrKnown,
    SnrName,
    Transmitter,
    channel_of,
)
from genjscc.cli.output_files import claim_folder, expanded, free_name
from genjscc.cli.pictures import show_pictures
from genjscc.cli.receptions import cells, record_of
from genjscc.client.link import Link
from genjscc.client.options import Reception
from genjscc.client.protocol import ImageInput, to_rgb_array
from genjscc.errors import GenJSCCError
from genjscc.photos import ACCEPTED_BY_ALL, load_square, reduced_photo
from genjscc.quality.psnr import psnr_db
from genjscc.wire.ratios import format_ratio

# A photo of 12 megapixels takes a minute on one CPU core.
_PATIENCE_S = 900.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(send)


def send(
    photos: Annotated[
        list[Path], typer.Argument(help="PNG, JPEG or WebP files, or folders of them.")
    ],
    snr_db: Annotated[float, typer.Option("--snr-db", help="SNR of the channel in dB.")] = 0.0,
    rate: Annotated[
        str | None,
        typer.Option(
            help="Bandwidth ratio as 1/48; default: the model's highest.",
            autocompletion=complete_rates,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Model; `genjscc models` lists them.", autocompletion=complete_models),
    ] = None,
    scheme: Annotated[
        str | None,
        typer.Option(
            help="deepjscc, generative or inverse; default: the model's.",
            autocompletion=complete_schemes,
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the noise; default: another one each time.")
    ] = None,
    noise: Annotated[ChannelName, typer.Option(help="Kind of channel.")] = ChannelName.AWGN,
    k_factor: Annotated[float, typer.Option(help="Rician: line of sight over scatter.")] = 4.0,
    block_length: Annotated[
        int, typer.Option(min=0, help="Fading: symbols that share a gain; 0: the whole image.")
    ] = 0,
    ofdm: OfdmPairs = None,
    decoder_snr: SnrKnown = SnrName.KNOWN,
    size: Annotated[
        int, typer.Option(min=0, help="Send the central square at SIZE x SIZE pixels; 0: as it is.")
    ] = 0,
    inversion: InversionPairs = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the receptions.")
    ] = Path("received"),
    transmitter: Transmitter = None,
    channel: ChannelAddress = None,
    receiver: Receiver = None,
    timeout_s: Annotated[
        float | None,
        typer.Option(
            "--timeout-s", help="Seconds for each photo. Default: 900, or 3600 for inverse."
        ),
    ] = None,
    preview: Preview = True,
) -> None:
    """Send photos through running services and save what arrives.

    Files are named after what was sent: photo, model, scheme, rate and SNR; a second one of a name
    is numbered.
    """
    photos = expanded(photos)
    claim_folder(output)
    table = Table("photo", "k", "rho", "SNR asked", "measured", "PSNR / dB")
    records: list[dict[str, object]] = []
    failed = False
    options = inversion_of(inversion)
    kind = channel_of(noise, k_factor, block_length, ofdm)
    inverse = scheme == "inverse"
    with Link(
        transmitter=transmitter,
        channel=channel,
        receiver=receiver,
        timeout_s=timeout_s or (TIMEOUT_S if inverse else _PATIENCE_S),
    ) as link:

        @cache
        def most() -> int:
            chosen = choose_model(link.models(), model, scheme)
            return chosen.max_pixels or ACCEPTED_BY_ALL

        if model is None and scheme is not None:
            model = choose_model(link.models(), None, scheme).name
        send_one = partial(send_watched, link) if inverse else partial(send_plainly, link)
        for photo in photos:
            try:
                image = load_square(photo, size) if size else accepted(photo, most)
                reception = send_one(
                    image,
                    photo.name,
                    snr_db=snr_db,
                    rate=rate,
                    model=model,
                    scheme=scheme_name(scheme),
                    seed=seed,
                    channel=kind,
                    snr=decoder_snr.value,
                    inversion=options,
                )
                name = name_of(photo, reception, scheme, snr_db)
                target = free_name(output, name, ".png", inputs=photos)
                reception.save(target)
                sent = to_rgb_array(image)
                quality = psnr_db(sent, reception.image)
                record = record_of(reception, snr_db)
                records.append({"photo": photo, "file": target, "psnr_db": quality, **record})
                if preview:
                    show_pictures([(photo.name, sent), ("received", reception.image)])
                table.add_row(photo.name, *cells(reception, snr_db), f"{quality:.2f}")
            except GenJSCCError as error:
                failed = True
                records.append({"photo": photo, "error": described(error)})
                err.print(f"{photo}:", end=" ")
                report_error(error)
    files = [str(record["file"]) for record in records if "file" in record]
    shown: list[Table | str] = [table, *(f"saved: {file}" for file in files)] if files else []
    present(*shown, results=records, files=files)
    if failed:
        raise typer.Exit(1)


def accepted(photo: Path, max_pixels: Callable[[], int]) -> ImageInput:
    """Return a photo as the service accepts it: the file, or fewer pixels and a line about that."""
    reduced = reduced_photo(photo, max_pixels)
    if reduced is None:
        return photo
    height, width, _ = reduced.shape
    err.print(
        f"{photo}: reduced to {width}x{height} pixels; the service accepts {max_pixels()} pixels"
    )
    return reduced


def name_of(photo: Path, reception: Reception, scheme: str | None, snr_db: float) -> str:
    """Build a file name from photo and settings: `photo_faces64_inverse_1-48_0dB`."""
    how = f"_{scheme}" if scheme and scheme not in reception.model else ""
    rate = format_ratio(reception.codeword.bandwidth_ratio).replace("/", "-")
    return f"{photo.stem}_{reception.model}{how}_{rate}_{snr_db:g}dB"


def send_plainly(link: Link, image: ImageInput, _name: str, **keywords: Any) -> Reception:
    """Send one image without showing progress."""
    return link.send(image, **keywords)
