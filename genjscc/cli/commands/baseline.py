# SPDX-License-Identifier: Apache-2.0
"""`genjscc baseline`: measure a codec with a channel code, and write results/*.json."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from genjscc.cli.completion import complete_rates
from genjscc.cli.console import err, present
from genjscc.cli.measuring import load_dataset, make_meter, parse_snrs, progress
from genjscc.cli.options import (
    ChannelName,
    DatasetName,
    Notes,
    Num,
    Perceptual,
    Seed,
    Size,
    Snrs,
    SplitName,
    TestImages,
    channel_of,
)
from genjscc.cli.output_files import claim
from genjscc.cli.provenance import origin
from genjscc.cli.quality_tables import interval
from genjscc.client.options import Awgn, Fading
from genjscc.errors import InvalidInputError, needs
from genjscc.wire.ratios import parse_ratio

if TYPE_CHECKING:
    from rich.progress import TaskID

    from genjscc.evaluation.separation.capacity import AnyChannel, Attempt
    from genjscc.evaluation.separation.codecs import Codec
    from genjscc.evaluation.separation.records import ChannelCode, SeparationRecord
    from genjscc.evaluation.separation.sweep import Plan
    from genjscc.evaluation.sweep import Dataset

_RATES = ("1/768", "1/192", "1/48", "1/12")
_SNRS = "-5,-4,-3,-2,-1,0,1,2,3,4,5"
_CHANNEL_CODES = ("capacity", "ldpc")
_COLOUR_IMAGES = 1000


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(baseline)


def baseline(
    data: TestImages,
    results: Annotated[Path, typer.Argument(help="JSON file to write, as results/mine.json.")],
    training: Annotated[
        Path, typer.Option(help="Folder of training images; an outage shows their mean colour.")
    ],
    codec: Annotated[
        list[str] | None,
        typer.Option(help="jpeg, jpeg2000, webp, avif or bpg; repeat. Default: what is there."),
    ] = None,
    channel_code: Annotated[
        list[str] | None,
        typer.Option(help="capacity, or ldpc (5G LDPC and QAM, by Sionna). Default: both."),
    ] = None,
    rate: Annotated[
        list[str] | None,
        typer.Option(
            help="Bandwidth ratio; repeat. Default: 1/768 to 1/12.", autocompletion=complete_rates
        ),
    ] = None,
    snr_db: Snrs = _SNRS,
    channel: Annotated[
        ChannelName, typer.Option(help="awgn, or rayleigh with one gain for each image.")
    ] = ChannelName.AWGN,
    num: Num = 1000,
    size: Size = 0,
    seed: Seed = 0,
    perceptual: Perceptual = "auto",
    frechet: Annotated[
        bool, typer.Option(help="Measure FD-EffLite0, which takes seconds for each row.")
    ] = False,
    dataset: DatasetName = "",
    split: SplitName = "",
    notes: Notes = "",
    threads: Annotated[int, typer.Option(help="CPU threads of the metrics.")] = 1,
) -> None:
    """Measure separate source and channel coding on the same images, SNRs and noise.

    For each image the best file that fits is sent, down-scaled where that pays, with and
    without its headers counted. Where nothing fits or the channel code fails, the image is an
    outage; the share of outages is part of every row.
    """
    with needs("train", "the baseline"):
        import torch

        from genjscc.evaluation.records import write_results
        from genjscc.evaluation.separation.codecs import available_codecs
        from genjscc.evaluation.separation.codecs import codec as codec_named
        from genjscc.evaluation.separation.records import SeparationFile
        from genjscc.evaluation.separation.sweep import evaluate_separation, mean_colour
    torch.set_num_threads(threads)
    made_by = origin()
    kind = channel_of(channel, 0.0, 0)
    if not isinstance(kind, Awgn | Fading):
        raise InvalidInputError("--channel", f"got {channel.value}; must be awgn or rayleigh")
    codecs = [codec_named(name) for name in codec] if codec else available_codecs()
    snrs = parse_snrs(snr_db, "--snr-db")
    claim(results, inputs=[data, training])
    images = load_dataset(data, num, size, dataset, split)
    colour = mean_colour(load_dataset(training, _COLOUR_IMAGES, 0, "", "").images)
    plans = make_plans(images, rate or _RATES, snrs, kind, channel_code or _CHANNEL_CODES, seed)
    meter = make_meter(perceptual=perceptual, frechet=frechet, fid=False)
    records: list[SeparationRecord] = []
    for chosen in codecs:
        with stages(chosen.name) as note:
            records += evaluate_separation(
                chosen, images, plans, meter, colour=colour, seed=seed, note=note
            )
    remark = describe(codecs, colour.tolist(), notes)
    written = SeparationFile(**made_by, notes=remark, records=records)
    write_results(results, written)
    present(*tables_of(records), f"written: {results}", results=records, files=[results])


def make_plans(
    images: Dataset,
    rates: Sequence[str],
    snrs: Sequence[float],
    channel: AnyChannel,
    channel_codes: Sequence[str],
    seed: int,
) -> list[Plan]:
    """Combine all rates, SNRs and channel codes with the bits that the channel lets through."""
    from genjscc.evaluation.separation.capacity import capacity_attempts
    from genjscc.evaluation.separation.ldpc import ldpc_attempts
    from genjscc.evaluation.separation.sweep import Plan
    from genjscc.evaluation.sweep import Cell

    attempts_by_code: dict[str, tuple[ChannelCode, Callable[..., list[Attempt]]]] = {
        "capacity": ("capacity", capacity_attempts),
        "ldpc": ("ldpc", ldpc_attempts),
    }
    plans = []
    for name in channel_codes:
        if name not in attempts_by_code:
            known = ", ".join(attempts_by_code)
            raise InvalidInputError("--channel-code", f"got {name!r}; there are {known}")
        code, attempts_of = attempts_by_code[name]
        with progress(f"channel code: {name}", len(rates) * len(snrs)) as note:
            for ratio in rates:
                fraction = parse_ratio(ratio)
                ks = [int(fraction * image.size) for image in images.images]
                for snr in snrs:
                    attempts = attempts_of(ks, snr, channel, seed=seed)
                    plans.append(Plan(Cell(ratio, snr), channel, code, ks, attempts))
                    note(None)
    return plans


def describe(codecs: Sequence[Codec], colour: Sequence[int], notes: str) -> str:
    """Return settings and versions that the results depend on."""
    from PIL import __version__ as pillow

    settings = "; ".join(f"{c.name}: {c.settings}" for c in codecs)
    shown = "#" + "".join(f"{int(part):02x}" for part in colour)
    text = f"an outage shows {shown}, the training images' mean colour; Pillow {pillow}; {settings}"
    return f"{notes}; {text}" if notes else text


@contextmanager
def stages(name: str) -> Iterator[Callable[[str, int], None]]:
    """Show a bar for each stage of a codec; yield note(stage, total), called once per step."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    from genjscc.cli.progress import LoggedProgress

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with LoggedProgress(*columns, TimeRemainingColumn(), console=err, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def note(stage: str, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(f"{name}: {stage}", total=total)
            bar.advance(tasks[stage])

        yield note


def tables_of(records: Sequence[SeparationRecord]) -> Iterator[Table]:
    """Format records as one table for each channel code and way of counting."""
    families: dict[tuple[str, bool], list[SeparationRecord]] = {}
    for record in records:
        families.setdefault((record.channel_code, record.headers), []).append(record)
    for (channel_code, headers), members in families.items():
        table = Table(
            title=f"{channel_code}, headers {'counted' if headers else 'free'}",
            caption="SNR and PSNR in dB; VGG: ST-LPIPS; ± 95 % interval",
            box=SIMPLE_HEAD,
        )
        for name in ("rho", "SNR", "codec", "sent by", "outage", "PSNR", "VGG"):
            table.add_column(name, no_wrap=True)
        for record in sorted(members, key=lambda r: (parse_ratio(r.bandwidth_ratio), r.snr_db)):
            table.add_row(
                record.bandwidth_ratio,
                f"{record.snr_db:+g}",
                record.codec,
                f"{record.modulation} {record.code_rate}" if record.modulation else "-",
                f"{100 * record.outage.mean:.1f} %",
                interval(record.psnr_db, 2),
                interval(record.st_lpips_vgg, 3),
            )
        yield table
