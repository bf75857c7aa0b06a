# SPDX-License-Identifier: Apache-2.0
"""Committed figures are measured again: one cell of each file whose images are at hand."""

from __future__ import annotations

import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

from genjscc import LocalLink
from genjscc.cli.commands import baseline, evaluate
from genjscc.cli.commands.baseline import make_plans
from genjscc.cli.measuring import load_dataset
from genjscc.client.options import Awgn
from genjscc.errors import InvalidInputError
from genjscc.evaluation.records import Record, ResultFile
from genjscc.evaluation.separation.codecs import codec
from genjscc.evaluation.separation.records import SeparationRecord
from genjscc.evaluation.separation.sweep import evaluate_separation, mean_colour
from genjscc.evaluation.sweep import Dataset, Meter
from genjscc.quality.psnr import psnr_db
from genjscc.quality.statistics import Mean, mean_of
from genjscc.report.files import read_result_file
from genjscc.report.summary import read_bundles
from genjscc.repository import REPOSITORY

# Enough images for an interval; a cell of thousand would take minutes.
_IMAGES = 16
_APP = typer.Typer()
for command in (baseline, evaluate):
    command.register(_APP)


@cache
def results() -> dict[str, ResultFile]:
    """Committed result files of the two commands."""
    found = {}
    for path in sorted((REPOSITORY / "results").rglob("*.json")):
        try:
            file = read_result_file(path)
        except InvalidInputError:
            continue  # of another program
        if file.command.split()[:2] in (["genjscc", "evaluate"], ["genjscc", "baseline"]):
            found[str(path.relative_to(REPOSITORY))] = file
    return found


def options_of(command: str) -> dict[str, Any]:
    """What the command was given, and its defaults."""
    _, name, *arguments = shlex.split(command)
    parser = typer.main.get_group(_APP).commands[name]
    return dict(parser.make_context(name, arguments).params)


def images_of(options: dict[str, Any]) -> Dataset:
    if not (REPOSITORY / options["data"]).is_dir():
        pytest.skip(f"the images are not here: {options['data']}")
    return dataset(options["data"], options["num"], options["size"])


@cache
def dataset(data: str, num: int, size: int) -> Dataset:
    return load_dataset(REPOSITORY / data, num, size, "", "")


@cache
def colour_of(training: str) -> Any:
    return mean_colour(dataset(training, 1000, 0).images)


@cache
def link() -> LocalLink:
    return LocalLink()


def some(count: int) -> list[int]:
    """Evenly spaced positions."""
    wanted = min(count, _IMAGES)
    return [i * count // wanted for i in range(wanted)]


def assert_agrees(committed: Mean, measured: Mean) -> None:
    """With all images: within the committed interval. With some: within three standard errors."""
    allowed = committed.ci95
    if measured.n < committed.n:
        allowed = 3 / 1.96 * (committed.ci95**2 + measured.ci95**2) ** 0.5
    assert abs(committed.mean - measured.mean) <= allowed


def regenerate_separation(record: SeparationRecord, options: dict[str, Any]) -> None:
    images = images_of(options)
    if not (REPOSITORY / options["training"]).is_dir():
        pytest.skip(f"the training images are not here: {options['training']}")
    chosen = Dataset("", "", [images.images[i] for i in some(len(images.images))])
    colour = colour_of(str(options["training"]))
    plans = make_plans(
        chosen, [record.bandwidth_ratio], [record.snr_db], Awgn(), ["capacity"], record.seed
    )
    found = evaluate_separation(
        codec(record.codec), chosen, plans, Meter(), colour=colour, seed=record.seed
    )
    again = next(one for one in found if one.headers == record.headers)
    assert_agrees(record.psnr_db, again.psnr_db)
    assert_agrees(record.outage, again.outage)


def regenerate_learned(record: Record, options: dict[str, Any]) -> None:
    shipped = read_bundles(REPOSITORY / "models").get(str(record.bundle))
    if shipped is None or shipped.pair_id != record.pair_id:
        pytest.skip(f"{record.bundle} as it was measured does not ship")
    images = images_of(options).images
    values = [
        psnr_db(
            images[i],
            link()
            .send(
                images[i],
                snr_db=record.snr_db,
                rate=record.bandwidth_ratio,
                model=record.bundle,
                scheme=record.scheme,
                seed=record.seed + i,
            )
            .image,
        )
        for i in some(len(images))
    ]
    assert_agrees(record.psnr_db, mean_of(values))


def one_cell(file: ResultFile) -> Record | None:
    """The middle one of those that can be had in seconds."""
    cells = [
        record
        for record in file.records
        if record.channel == "awgn"
        and record.told_snr_db is None
        and (
            record.channel_code == "capacity" and record.codec in ("jpeg", "webp")
            if isinstance(record, SeparationRecord)
            else record.scheme in ("deepjscc", "generative")
        )
    ]
    return cells[len(cells) // 2] if cells else None


@pytest.mark.parametrize("name", results() or ["none"])
def test_a_cell_measured_again_agrees(name: str) -> None:
    if name not in results():
        pytest.skip("there are no committed results of evaluate or baseline")
    file = results()[name]
    record = one_cell(file)
    if record is None:
        pytest.skip("only schemes that take minutes for a cell")
    options = options_of(file.command)
    if isinstance(record, SeparationRecord):
        regenerate_separation(record, options)
    else:
        regenerate_learned(record, options)


def test_the_results_on_the_sample_photos_need_nothing_that_is_not_here() -> None:
    """So that on any machine at least one committed figure is measured again."""
    options = options_of(results()["results/samples/separation.json"].command)
    for folder in (options["data"], options["training"]):
        assert (REPOSITORY / Path(folder)).is_dir()
