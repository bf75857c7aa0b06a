# SPDX-License-Identifier: Apache-2.0
"""`genjscc evaluate`: measure models over rates and SNRs; write results/*.json."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genjscc.cli.console import err, present
from genjscc.cli.inversion import TIMEOUT_S, InversionPairs, inversion_of
from genjscc.cli.options import (
    ChannelAddress,
    ChannelName,
    Receiver,
    Transmitter,
    channel_of,
)
from genjscc.cli.origin import origin
from genjscc.cli.quality_tables import tables_of, tables_of_differences
from genjscc.cli.send import scheme_name
from genjscc.client.aio import DEFAULT_TIMEOUT_S
from genjscc.client.link import Link
from genjscc.client.local import LocalLink
from genjscc.client.options import ModelInfo
from genjscc.errors import InvalidInputError, MissingExtraError, ModelNotFoundError
from genjscc.wire.ratios import parse_ratio

if TYPE_CHECKING:
    from genjscc.evaluation.linear import LinearCode
    from genjscc.evaluation.records import Difference, Record
    from genjscc.evaluation.sweep import Dataset, Meter

_SNRS = "-5,-4,-3,-2,-1,0,1,2,3,4,5"
_KLT_IMAGES = 12_000
OWN = "own"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(evaluate)


def evaluate(
    data: Annotated[Path, typer.Argument(help="Folder of test images.")],
    results: Annotated[Path, typer.Argument(help="JSON file to write, as results/mine.json.")],
    model: Annotated[
        list[str] | None, typer.Option(help="Model; repeat for more. Default: all on offer.")
    ] = None,
    rate: Annotated[
        list[str] | None, typer.Option(help="Bandwidth ratio; repeat. Default: all of the model.")
    ] = None,
    snr_db: Annotated[str, typer.Option("--snr-db", help="SNRs in dB, with commas.")] = _SNRS,
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
            help="deepjscc, generative or inverse; repeat for more. Default: the model's own."
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
        ChannelName, typer.Option(help="awgn, or rayleigh with one gain for each image.")
    ] = ChannelName.AWGN,
    num: Annotated[int, typer.Option(help="Images, evenly spaced over the folder; 0: all.")] = 1000,
    size: Annotated[int, typer.Option(help="Central squares of that side; 0: as they are.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the noise; image number i has SEED + i.")] = 0,
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
    dataset: Annotated[str, typer.Option(help="Its name; default: the folder's parent.")] = "",
    split: Annotated[str, typer.Option(help="Its split; default: the folder's name.")] = "",
    notes: Annotated[str, typer.Option(help="A remark for the file.")] = "",
    bundles: Annotated[Path | None, typer.Option(help="Folder of the trained models.")] = None,
    device: Annotated[str, typer.Option(help="PyTorch device of the networks.")] = "cpu",
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    remote: Annotated[bool, typer.Option(help="Use running services, not this process.")] = False,
    transmitter: Transmitter = None,
    channel: ChannelAddress = None,
    receiver: Receiver = None,
) -> None:
    """Measure models over bandwidth ratios and SNRs.

    PSNR, MS-SSIM, ST-LPIPS and FD-EffLite0 with 95 % intervals, in this process or through
    running services (--remote); the results are the same.
    """
    try:
        import torch

        from genjscc.evaluation.paired import Outcome, differences_from
        from genjscc.evaluation.records import ResultFile, write_results
        from genjscc.evaluation.sweep import Cell, evaluate_cell
        from genjscc.report.figures import describe, plot_against_snr
    except ImportError as error:
        raise MissingExtraError(
            f"evaluation needs {error.name!r}: pip install 'genjscc[train]'"
        ) from error
    torch.set_num_threads(threads)
    made_by = origin()
    snrs = parse_snrs(snr_db, "--snr-db")
    told: Sequence[float | None] = (
        [None] if told_snr_db is None else parse_snrs(told_snr_db, "--told-snr-db")
    )
    images = load_dataset(data, num, size, dataset, split)
    meter = make_meter(perceptual=perceptual, frechet=frechet, fid=fid)
    options = inversion_of(inversion)
    kind = channel_of(measurable(noise, linear), 0.0, 0)
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
            for ratio, snr, believed in product(ratios, snrs, told):
                text = f"{chosen.name}, {how}, {ratio}, {snr:+g} dB"
                text += "" if believed is None else f", told {believed:+g} dB"
                with progress(text, len(images.images)) as note:
                    outcome = evaluate_cell(
                        link,
                        chosen,
                        images,
                        Cell(ratio, snr, believed),
                        meter,
                        seed=seed,
                        scheme=how,
                        inversion=options if how == "inverse" else None,
                        channel=kind,
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
    picture = results.with_suffix(".png")
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
    """The kind of channel, where records and baseline have it. Raises InvalidInputError."""
    if noise not in (ChannelName.AWGN, ChannelName.RAYLEIGH):
        raise InvalidInputError("--noise", f"got {noise.value}; must be awgn or rayleigh")
    if noise is ChannelName.RAYLEIGH and linear is not None:
        raise InvalidInputError("--noise", "the linear baseline knows awgn; leave --linear out")
    return noise


def parse_snrs(text: str, option: str) -> list[float]:
    """Numbers between commas. Raises InvalidInputError."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidInputError(option, f"got {text!r}; must be numbers as -5,0,5") from error


def load_dataset(folder: Path, num: int, size: int, name: str, split: str) -> Dataset:
    """Evenly spaced images of a folder in the order of their names."""
    from genjscc.client.protocol import to_rgb_array
    from genjscc.evaluation.sweep import Dataset
    from genjscc.photos import load_square
    from genjscc.training.data import list_images

    paths = list_images(folder)
    count = min(num, len(paths)) if num else len(paths)
    if count < 2:
        raise InvalidInputError("data", f"{folder} holds {count} image; an interval needs two")
    chosen = [paths[i * len(paths) // count] for i in range(count)]
    images = [load_square(p, size) if size else to_rgb_array(p) for p in chosen]
    folder = folder.resolve()
    return Dataset(name or folder.parent.name, split or folder.name, images)


def make_meter(*, perceptual: str, frechet: bool, fid: bool) -> Meter:
    """The metrics that were asked for.

    Raises:
        InvalidInputError: a perceptual distance has another name.
        MissingExtraError: a network's package or weights are missing.
    """
    from genjscc.evaluation.sweep import Meter
    from genjscc.quality.frechet import EffLite0Distance, InceptionDistance, SetDistance
    from genjscc.quality.metrics import (
        PERCEPTUAL_FIELDS,
        available_perceptual,
        perceptual_metric,
    )

    names = {name: field for field, name in PERCEPTUAL_FIELDS.items()}
    if perceptual == "auto":
        chosen = list(available_perceptual().values())
    else:
        chosen = [] if perceptual == "none" else perceptual.split(",")  # type: ignore[assignment]
    for name in chosen:
        if name not in names:
            raise InvalidInputError(
                "--perceptual", f"got {name!r}; there are auto, none, {', '.join(names)}"
            )
    metrics = {names[name]: perceptual_metric(name) for name in chosen}
    distances: dict[str, SetDistance] = {}
    if frechet:
        distances["fd_efflite0"] = EffLite0Distance()
    if fid:
        distances["fid"] = InceptionDistance()
    return Meter(metrics, distances)


@contextmanager
def open_link(
    remote: bool,
    bundles: Path | None,
    device: str,
    threads: int,
    addresses: tuple[str | None, str | None, str | None],
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Iterator[Link | LocalLink]:
    """The link to measure through."""
    if not remote:
        with LocalLink(bundles=bundles, device=device, threads=threads) as local:
            yield local
        return
    transmitter, channel, receiver = addresses
    with Link(
        transmitter=transmitter, channel=channel, receiver=receiver, timeout_s=timeout_s
    ) as link:
        link.wait_ready(10.0)
        yield link


def choose_models(offered: Sequence[ModelInfo], names: Sequence[str] | None) -> list[ModelInfo]:
    """The models of these names, or all. Raises ModelNotFoundError."""
    by_name = {model.name: model for model in offered}
    for name in names or ():
        if name not in by_name:
            raise ModelNotFoundError(f"model: got {name!r}; there are {', '.join(by_name)}")
    return [by_name[name] for name in names or by_name]


def choose_baselines(
    models: Sequence[ModelInfo], schemes: Sequence[str] | None, against: str | None
) -> list[ModelInfo]:
    """The models, by their own schemes, that others are compared with.

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
    """The linear baseline for images, fitted on up to 12,000 images of a folder.

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
    """The linear baseline at all ratios and SNRs."""
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


@contextmanager
def progress(text: str, total: int) -> Iterator[Any]:
    """A bar over the images of one cell; yields what to call after each."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

    from genjscc.cli.progress import LoggedProgress

    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn())
    with LoggedProgress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda _: bar.advance(task)
