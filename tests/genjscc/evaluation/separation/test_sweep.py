# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from genjscc.cli.commands import baseline
from genjscc.client.options import Awgn
from genjscc.errors import InvalidInputError, MissingExtraError
from genjscc.evaluation.records import ResultFile, write_results
from genjscc.evaluation.separation.capacity import Attempt, capacity_attempts
from genjscc.evaluation.separation.codecs import Rgb, codec
from genjscc.evaluation.separation.files import Files, restore
from genjscc.evaluation.separation.records import SeparationFile, SeparationRecord
from genjscc.evaluation.separation.sweep import Plan, evaluate_separation, mean_colour
from genjscc.evaluation.sweep import Cell, Dataset, Measured, Meter
from genjscc.quality.psnr import psnr_db
from genjscc.report.files import read_result_file
from tests.helpers.photo_folders import write_photos
from tests.helpers.pictures import gradient, noise

COLOUR = np.array([120, 100, 90], np.uint8)
IMAGES = [gradient(32, 32), gradient(32, 32)[::-1].copy(), noise(32, 32) // 4]
DATASET = Dataset("pictures", "test", IMAGES)


def attempt(budget: int, arrived: list[bool], **names: str) -> Attempt:
    return Attempt(np.full(len(arrived), budget), np.array(arrived), **names)


def plan(*attempts: Attempt, code: str = "capacity") -> Plan:
    return Plan(Cell("1/48", 0.0), Awgn(), code, [64] * len(IMAGES), attempts)


def measure(*plans: Plan, name: str = "jpeg", meter: Meter | None = None) -> list[SeparationRecord]:
    found = evaluate_separation(
        codec(name), DATASET, plans, meter or Meter(), colour=COLOUR, seed=5
    )
    return list(found)


def colour_psnr() -> list[float]:
    return [psnr_db(image, np.broadcast_to(COLOUR, image.shape)) for image in IMAGES]


def test_where_nothing_fits_every_image_shows_the_mean_colour() -> None:
    with_headers, without = measure(plan(attempt(30, [True] * 3)))
    assert (with_headers.headers, without.headers) == (True, False)
    assert with_headers.outage.mean == 1.0
    assert with_headers.undecoded.mean == 0.0
    assert with_headers.file_bytes is None
    assert with_headers.psnr_db.mean == pytest.approx(np.mean(colour_psnr()), abs=1e-6)
    assert without.outage.mean == 0.0
    assert without.file_bytes is not None
    assert 0 < without.file_bytes.mean <= 30 == without.budget_bytes
    assert without.psnr_db.mean > with_headers.psnr_db.mean


def test_what_the_channel_loses_is_an_outage_too() -> None:
    (whole, _) = measure(plan(attempt(900, [True] * 3)))
    (broken, _) = measure(plan(attempt(900, [True, False, True]), code="ldpc"))
    assert whole.outage.mean == 0.0
    assert broken.outage.mean == broken.undecoded.mean == pytest.approx(1 / 3, abs=1e-5)
    jpeg = codec("jpeg")
    expected = colour_psnr()
    for i in (0, 2):
        file = Files(jpeg, IMAGES[i]).best(900, headers=True)
        assert file is not None
        expected[i] = psnr_db(IMAGES[i], restore(jpeg, file.data, 32, 32))
    assert broken.psnr_db.mean == pytest.approx(np.mean(expected), abs=1e-5)


def test_the_envelope_takes_the_attempt_with_the_best_mean_quality() -> None:
    large = attempt(900, [False, False, True], modulation="64-QAM", code_rate="2/3")
    small = attempt(500, [True, True, True], modulation="4-QAM", code_rate="1/2")
    (record, _) = measure(plan(large, small, code="ldpc"))
    assert (record.modulation, record.code_rate) == ("4-QAM", "1/2")
    all_through = replace(large, arrived=np.ones(3, bool))
    (record, _) = measure(plan(all_through, small, code="ldpc"))
    assert (record.modulation, record.code_rate) == ("64-QAM", "2/3")
    # Where all is lost with either, the one that gets more images through is named.
    (record, _) = measure(plan(replace(large, budgets=small.budgets // 50), attempt(9, [True] * 3)))
    assert record.undecoded.mean == 0.0


def test_quality_rises_with_the_budget_and_no_picture_is_measured_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[list[bytes]] = []
    measure_all = Meter.measure

    def watched(self: Meter, originals: list[Rgb], received: list[Rgb]) -> Measured:
        shown.append([picture.tobytes() for picture in received])
        return measure_all(self, originals, received)

    monkeypatch.setattr(Meter, "measure", watched)
    plans = [plan(attempt(budget, [True] * 3)) for budget in (5, 20, 80, 80, 320, 320, 640)]
    free = [record.psnr_db.mean for record in measure(*plans) if not record.headers]
    assert free == sorted(free)
    assert free[-1] > free[0] + 5
    distinct = [len(set(pictures)) for pictures in zip(*shown, strict=True)]
    assert len(shown) == max(distinct)


def test_set_distances_are_those_of_the_pictures_shown() -> None:
    class Darkness:
        """Difference of mean brightness."""

        def set_reference(self, batches: object) -> None:
            self.reference = float(np.mean([float(b.mean()) for b in batches]))  # type: ignore[attr-defined]

        def to_reference(self, batches: object) -> float:
            return float(np.mean([float(b.mean()) for b in batches])) - self.reference  # type: ignore[attr-defined]

    meter = Meter(distances={"fd_efflite0": Darkness()})
    lost, _ = measure(plan(attempt(0, [True] * 3)), meter=meter)
    expected = COLOUR.mean() / 255 - np.mean([image.mean() for image in IMAGES]) / 255
    assert lost.fd_efflite0 == pytest.approx(expected, abs=1e-5)


def test_images_of_any_size(tmp_path: Path) -> None:
    images = [gradient(40, 24), gradient(24, 40), gradient(33, 50)]
    mixed = Dataset("pictures", "test", images)
    ks = [image.size // 12 for image in images]
    attempts = capacity_attempts(ks, 5, Awgn(), seed=0)
    plans = [Plan(Cell("1/12", 5.0), Awgn(), "capacity", ks, attempts)]
    records = list(evaluate_separation(codec("webp"), mixed, plans, Meter(), colour=COLOUR, seed=0))
    assert [(r.image_size, r.k, r.outage.mean) for r in records] == [("mixed", None, 0.0)] * 2


def test_a_file_of_the_baseline_can_be_read_again(tmp_path: Path) -> None:
    records = measure(plan(attempt(300, [True] * 3)))
    path = tmp_path / "baseline.json"
    write_results(path, SeparationFile(command="c", version="v", commit="d", records=records))
    again = read_result_file(path)
    assert isinstance(again, SeparationFile)
    assert len(again.records) == 2
    assert again.records[1].outage == records[1].outage
    assert again.records[0].psnr_db.mean == pytest.approx(records[0].psnr_db.mean, rel=1e-5)
    other = tmp_path / "plain.json"
    write_results(other, ResultFile(command="c", version="v", commit="d"))
    assert not isinstance(read_result_file(other), SeparationFile)
    path.write_text(path.read_text().replace('"codec": "jpeg"', '"codec": 3'))
    with pytest.raises(InvalidInputError, match=r"records.0.codec"):
        read_result_file(path)


def test_the_mean_colour_weighs_images_alike() -> None:
    small, large = np.zeros((2, 2, 3), np.uint8), np.full((50, 50, 3), 100, np.uint8)
    assert list(mean_colour([small, large])) == [50, 50, 50]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_photos(tmp_path / "set" / "test", 3)
    write_photos(tmp_path / "set" / "train", 4)
    return tmp_path / "set"


def run(folder: Path, *options: str) -> tuple[int, str, Path]:
    app = typer.Typer()
    baseline.register(app)
    target = folder.parent / "out.json"
    given = [str(folder / "test"), str(target), "--training", str(folder / "train"), *options]
    outcome = CliRunner().invoke(app, [*given, "--perceptual", "none"], env={"COLUMNS": "200"})
    if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    return outcome.exit_code, outcome.output, target


def test_the_command_writes_and_shows_outages(folder: Path) -> None:
    options = ["--rate", "1/12", "--snr-db=-5,5", "--codec", "webp", "--codec", "jpeg"]
    code, output, target = run(folder, *options)
    assert code == 0
    results = read_result_file(target)
    assert isinstance(results, SeparationFile)
    cells = Counter((r.codec, r.channel_code, r.headers, r.snr_db) for r in results.records)
    assert len(cells) == 16
    assert set(cells.values()) == {1}
    assert "100.0 %" in output
    assert "mean colour" in results.notes
    assert results.records[0].k == 320


def test_the_command_does_rayleigh_fading_as_well(folder: Path) -> None:
    options = ["--rate", "1/12", "--snr-db=5", "--codec", "webp", "--channel", "rayleigh"]
    _, _, target = run(folder, *options, "--channel-code", "capacity")
    assert {record.channel for record in read_result_file(target).records} == {"fading"}


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        (["--channel", "noiseless"], InvalidInputError, "got noiseless; must be awgn or rayleigh"),
        (["--channel-code", "turbo"], InvalidInputError, "'turbo'; there are capacity, ldpc"),
        (["--codec", "gif"], InvalidInputError, "'gif'; there are jpeg"),
        (["--rate", "2"], InvalidInputError, "at most 1"),
        (["--codec", "bpg"], MissingExtraError, "not on the path"),
    ],
)
def test_wrong_options_are_named(
    folder: Path,
    options: list[str],
    error: type[Exception],
    match: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(error, match=match):
        run(folder, *options)
