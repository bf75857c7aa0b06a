# SPDX-License-Identifier: Apache-2.0
"""`genjscc evaluate`: measure models over rates and SNRs; write results/*.json."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genjscc.cli.completion import complete_models, complete_rates, complete_schemes
from genjscc.cli.console import err, present
from genjscc.cli.inversion_options import TIMEOUT_S, InversionPairs, inversion_of
from genjscc.cli.measuring import load_dataset, make_meter, open_link, parse_snrs, progress
from genjscc.cli.model_choice import choose_models, scheme_name
from genjscc.cli.options import (
    Bundles,
    ChannelAddress,
    ChannelName,
    DatasetName,
    Device,
    Notes,
    Num,
    OfdmPairs,
    Receiver,
    Seed,
    Size,
    SnrKnown,
    SnrName,
    Snrs,
    SplitName,
    TestImages,
    Threads,
    Transmitter,
    channel_of,
)
from genjscc.cli.output_files import claim
from genjscc.cli.provenance import origin
from genjscc.cli.quality_tables import tables_of, tables_of_differences
from genjscc.client.aio import DEFAULT_TIMEOUT_S
from genjscc.client.options import ModelInfo
from genjscc.errors import InvalidInputError, needs
from genjscc.wire.ratios import parse_ratio

if TYPE_CHECKING:
    from genjscc.evaluation.linear import LinearCode
    from genjscc.evaluation.records import Difference, Record
    from genjscc.evaluation.sweep import Dataset, Meter

_SNRS = "-5,-4,-3,-2,-1,0,1,2,3,4,5"
_KLT_IMAGES = 12_000
OWN = "own"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(evaluate)


def evaluate(
    data: TestImages,
    results: Annotated[Path, typer.Argument(help="JSON file to write, as results/mine.json.")],
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Model; repeat for more. Default: all on offer.", autocompletion=complete_models
        ),
    ] = None,
    rate: Annotated[
        list[str] | None,
        typer.Option(
            help="Bandwidth ratio; repeat. Default: all of the model.",
            autocompletion=complete_rates,
        ),
    ] = None,
    snr_db: Snrs = _SNRS,
    told_snr_db: Annotated[
        str | None,
        typer.Option(
            "--told-snr-db",
            help="What the networks believe instead; with commas: one after the other.",
        ),
    ] = None,
    scheme: Annotated[
        list[str] | None,
        typer.Option(
            help="deepjscc, generative or inverse; repeat for more. Default: the model's own.",
            autocompletion=complete_schemes,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="Model, among those measured: also what the others have over it, image by image. "
            "own: what the other schemes of a model have over its own."
        ),
    ] = None,
    inversion: InversionPairs = None,
    noise: Annotated[
        ChannelName,
        typer.Option(help="awgn, rayleigh with one gain for each image, ofdm, or tdl-a to tdl-e."),
    ] = ChannelName.AWGN,
    ofdm: OfdmPairs = None,
    decoder_snr: SnrKnown = SnrName.KNOWN,
    num: Num = 1000,
    size: Size = 0,
    seed: Seed = 0,
    linear: Annotated[
        Path | None,
        typer.Option(help="Also the linear baseline, fitted on this folder of training images."),
    ] = None,
    perceptual: Annotated[
        str,
        typer.Option(
            help="Perceptual distances with commas (st-lpips-vgg, st-lpips-alex, lpips-vgg, "
            "lpips-alex, lpips-squeeze), or none. auto: those that need no download."
        ),
    ] = "auto",
    frechet: Annotated[bool, typer.Option(help="Measure FD-EffLite0.")] = True,
    fid: Annotated[bool, typer.Option(help="Measure FID; fetches Inception v3 once.")] = False,
    dataset: DatasetName = "",
    split: SplitName = "",
    notes: Notes = "",
    bundles: Bundles = None,
    device: Device = "cpu",
    threads: Threads = 1,
    remote: Annotated[bool, typer.Option(help="Use running services, not this process.")] = False,
    transmitter: Transmitter = None,
    channel: ChannelAddress = None,
    receiver: Receiver = None,
) -> None:
    """Measure models over bandwidth ratios and SNRs.

    PSNR, MS-SSIM, ST-LPIPS and FD-EffLite0 with 95 % intervals, in this process or through
    running services (--remote); the results are the same.
    """
    with needs("train", "evaluation"):
        import torch

        from genjscc.evaluation.paired import Outcome, differences_from
        from genjscc.evaluation.records import ResultFile, write_results
        from genjscc.evaluation.sweep import Cell, evaluate_cell
        from genjscc.report.figures import describe, plot_against_snr
    torch.set_num_threads(threads)
    made_by = origin()
    snrs = parse_snrs(snr_db, "--snr-db")
    assumed: Sequence[float | None] = (
        [None] if told_snr_db is None else parse_snrs(told_snr_db, "--told-snr-db")
    )
    picture = results.with_suffix(".png")
    claim(results, picture, inputs=[data, *([linear] if linear else [])])
    images = load_dataset(data, num, size, dataset, split)
    meter = make_meter(perceptual=perceptual, frechet=frechet, fid=fid)
    options = inversion_of(inversion)
    kind = channel_of(measurable(noise, linear), 0.0, 0, ofdm)
    outcomes: list[Outcome] = []
    link: Any
    addresses = (transmitter, channel, receiver)
    # A stream of inversions may be silent for minutes.
    timeout_s = TIMEOUT_S if "inverse" in (scheme or []) else DEFAULT_TIMEOUT_S
    with open_link(remote, bundles, device, threads, addresses, timeout_s) as link:
        models = choose_models(link.models(), model)
        baselines = choose_baselines(models, scheme, against)
        offered = {ratio for one in models for ratio in one.bandwidth_ratios}
        all_ratios = rate or sorted(offered, key=parse_ratio)
        # Before the hours of measuring: it may be refused.
        code = fit_baseline(linear, images, all_ratios) if linear is not None else None
        for chosen, wanted in product(models, scheme or [""]):
            how = scheme_name(wanted or None) or chosen.scheme
            ratios = rate or chosen.bandwidth_ratios
            for ratio, snr, assumed_snr in product(ratios, snrs, assumed):
                text = f"{chosen.name}, {how}, {ratio}, {snr:+g} dB"
                text += "" if assumed_snr is None else f", assumed {assumed_snr:+g} dB"
                with progress(text, len(images.images)) as note:
                    outcome = evaluate_cell(
                        link,
                        chosen,
                        images,
                        Cell(ratio, snr, assumed_snr),
                        meter,
                        seed=seed,
                        scheme=how,
                        inversion=options if how == "inverse" else None,
                        channel=kind,
                        snr=decoder_snr.value,
                        note=note,
                    )
                outcomes.append(outcome)
    records = [record for record, _ in outcomes]
    differences: list[Difference] = []
    for baseline in baselines:
        compared = [o for o in outcomes if against != OWN or o[0].bundle == baseline.name]
        differences += differences_from(compared, bundle=baseline.name, scheme=baseline.scheme)
    if code is not None:
        records += measure_baseline(code, images, all_ratios, snrs, meter, seed=seed)
    write_results(
        results, ResultFile(**made_by, notes=notes, records=records, differences=differences)
    )
    plot_against_snr(records, describe(records)).savefig(picture, dpi=120)
    present(
        *tables_of(records),
        *tables_of_differences(differences),
        f"picture: {picture}",
        f"written: {results}",
        results=[*records, *differences],
        files=[results, picture],
    )


def measurable(noise: ChannelName, linear: Path | None) -> ChannelName:
    """Return the kind of channel if records and baseline support it. Raises InvalidInputError."""
    if noise in (ChannelName.RICIAN, ChannelName.NOISELESS):
        raise InvalidInputError(
            "--noise", f"got {noise.value}; must be awgn, rayleigh, ofdm or tdl-a to tdl-e"
        )
    if noise is not ChannelName.AWGN and linear is not None:
        raise InvalidInputError("--noise", "the linear baseline knows awgn; leave --linear out")
    return noise


def choose_baselines(
    models: Sequence[ModelInfo], schemes: Sequence[str] | None, against: str | None
) -> list[ModelInfo]:
    """Return the models, with their own schemes, that others are compared with.

    Raises:
        ModelNotFoundError: there is none of that name.
        InvalidInputError: its own scheme is not among those measured.
    """
    if against is None:
        return []
    baselines = list(models) if against == OWN else choose_models(models, [against])
    for baseline in baselines:
        if schemes and baseline.scheme not in schemes:
            raise InvalidInputError(
                "--against", f"{baseline.name} decodes by {baseline.scheme}; add --scheme for it"
            )
    return baselines


def fit_baseline(training: Path, images: Dataset, ratios: Sequence[str]) -> LinearCode:
    """Fit the linear baseline on up to 12,000 images of a folder.

    Images that are not squares of one size are coded by squares of the training images' size.
    """
    import torch

    from genjscc.evaluation.linear import fit_linear

    height, width, _ = images.images[0].shape
    one_square = images.size != "mixed" and height == width
    known = load_dataset(training, _KLT_IMAGES, height if one_square else 0, "", "")
    side = known.images[0].shape[0]
    if known.size != f"{side}x{side}":
        raise InvalidInputError(
            "--linear", f"{training} holds images of {known.size}; must be squares of one size"
        )
    for image in images.images:
        if image.shape[0] % side or image.shape[1] % side:
            raise InvalidInputError(
                "--linear",
                f"an image has {image.shape[1]}x{image.shape[0]} pixels; must be made of "
                f"squares of {side}x{side}, or set --size",
            )
    flat = torch.stack([torch.from_numpy(i).permute(2, 0, 1).flatten() for i in known.images])
    most = max(_symbols(ratio, side) for ratio in ratios)
    with err.status(f"fitting the linear baseline on {len(flat)} images"):
        return fit_linear(flat.float() / 255, 2 * most)


def measure_baseline(
    code: LinearCode,
    images: Dataset,
    ratios: Sequence[str],
    snrs: Sequence[float],
    meter: Meter,
    *,
    seed: int,
) -> list[Record]:
    """Measure the linear baseline at all ratios and SNRs."""
    from genjscc.evaluation.sweep import Cell, evaluate_linear

    records = []
    for ratio, snr in product(ratios, snrs):
        with progress(f"linear, {ratio}, {snr:+g} dB", 1):
            k = _symbols(ratio, code.side)
            record, _ = evaluate_linear(code, images, Cell(ratio, snr), meter, k=k, seed=seed)
            records.append(record)
    return records


def _symbols(ratio: str, side: int) -> int:
    return int(parse_ratio(ratio) * 3 * side * side)
