# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from genjscc import Link, LocalLink
from genjscc.cli.commands.evaluate import register
from genjscc.cli.measuring import load_dataset, make_meter, parse_snrs
from genjscc.errors import InvalidInputError, MissingExtraError
from genjscc.evaluation.linear import fit_linear
from genjscc.evaluation.records import ResultFile, write_results
from genjscc.evaluation.sweep import Cell, Dataset, Meter, evaluate_cell, evaluate_linear
from genjscc.quality.frechet import EffLite0Distance, InceptionDistance
from genjscc.quality.metrics import Metric
from genjscc.report.files import read_result_file
from tests.helpers.command_line import genjscc
from tests.helpers.photo_folders import write_photos
from tests.helpers.real_services import Services


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set") / "test"
    write_photos(folder, 7, size=(48, 40))
    return folder


@pytest.fixture(scope="module")
def dataset(photos: Path) -> Dataset:
    return load_dataset(photos, 6, 32, "pictures", "")


def test_near_and_far_give_one_record(services: Services, bundles: Path, dataset: Dataset) -> None:
    meter, cell = Meter(), Cell("1/192", 2.0)
    with LocalLink(bundles=bundles) as near, Link(**services.addresses) as far:
        model = near.models()[0]
        records = [
            evaluate_cell(link, model, dataset, cell, meter, seed=3, scheme="deepjscc")[0]
            for link in (near, far)
        ]
    first, second = records
    # Batches differ between the two, so a pixel may round to its neighbour.
    assert first.psnr_db.mean == pytest.approx(second.psnr_db.mean, abs=1e-3)
    same = {"psnr_db", "ms_ssim"}
    assert first.model_dump(exclude=same) == second.model_dump(exclude=same)
    assert (first.n, first.image_size, first.k, first.split) == (6, "32x32", 16, "test")


def test_a_told_snr_reaches_the_networks(bundles: Path, dataset: Dataset) -> None:
    with LocalLink(bundles=bundles) as link:
        model = link.models()[0]
        true, assumed = (
            evaluate_cell(
                link, model, dataset, Cell("1/192", 0.0, t), Meter(), seed=0, scheme="deepjscc"
            )[0]
            for t in (None, 20.0)
        )
    assert assumed.told_snr_db == 20.0
    assert assumed.psnr_db.mean != true.psnr_db.mean


def test_a_failing_image_fails_the_record(bundles: Path, dataset: Dataset) -> None:
    broken = Dataset("x", "y", [*dataset.images, np.zeros((0, 4, 3), np.uint8)])
    with LocalLink(bundles=bundles) as link, pytest.raises(InvalidInputError, match=r"\[0, 4, 3\]"):
        evaluate_cell(
            link, link.models()[0], broken, Cell("1/192", 0), Meter(), seed=0, scheme="deepjscc"
        )


def pooled() -> torch.nn.Module:
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    network.num_features = 3  # type: ignore[assignment]
    return network


def test_the_distance_between_sets_is_measured_on_features(dataset: Dataset) -> None:
    meter = Meter({}, {"fd_efflite0": EffLite0Distance(pooled())})
    fields = meter.measure(dataset.images, dataset.images).fields()
    assert fields["fd_efflite0"] == pytest.approx(0, abs=1e-6)
    darker = [image // 2 for image in dataset.images]
    assert meter.measure(dataset.images, darker).sets["fd_efflite0"] > 1e-3


def test_fid_is_that_of_torchmetrics_and_follows_the_reference(dataset: Dataset) -> None:
    class Bytes(torch.nn.Module):
        num_features = 3

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.double().mean((2, 3)) / 255

    meter = Meter({}, {"fid": InceptionDistance(Bytes()), "fd": EffLite0Distance(pooled())})
    darker = [image // 2 for image in dataset.images]
    for originals, received in ((dataset.images, darker), (darker, darker), (darker, darker[::-1])):
        sets = meter.measure(originals, received).sets
        # The means of channels are features of both; ours are float32.
        assert sets["fid"] == pytest.approx(sets["fd"], abs=1e-5)


def test_what_a_metric_prepared_is_used_again_and_for_its_own_images(dataset: Dataset) -> None:
    prepared: list[int] = []

    def prepare(x: torch.Tensor) -> list[torch.Tensor]:
        prepared.append(len(x))
        return [x]

    def compare(reference: list[torch.Tensor], image: torch.Tensor) -> torch.Tensor:
        return (reference[0] - image).abs().mean((1, 2, 3))

    meter = Meter({"st_lpips_vgg": Metric(compare, prepare)})
    darker = [image // 2 for image in dataset.images]
    for received in (dataset.images, darker):
        values = meter.measure(dataset.images, received).values["st_lpips_vgg"]
        expected = [
            np.abs(a / 255 - b / 255).mean() for a, b in zip(dataset.images, received, strict=True)
        ]
        np.testing.assert_allclose(values, expected, atol=1e-6)
    assert prepared == [len(dataset.images)]
    assert max(meter.measure(darker, darker).values["st_lpips_vgg"]) == 0
    assert len(prepared) == 2


def test_an_unknown_distance_is_refused_and_fid_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidInputError, match="--perceptual: got 'l2'; there are auto"):
        make_meter(perceptual="l2", frechet=False, fid=False)
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(MissingExtraError, match="FID"):
        make_meter(perceptual="none", frechet=False, fid=True)


def test_the_linear_baseline_improves_with_snr_and_rate(dataset: Dataset) -> None:
    flat = torch.stack([torch.from_numpy(i).permute(2, 0, 1).flatten() for i in dataset.images])
    code = fit_linear(flat.float() / 255, 5)
    psnrs = [
        evaluate_linear(code, dataset, Cell("1/768", snr), Meter(), k=k, seed=0)[0].psnr_db.mean
        for k, snr in ((1, -5.0), (1, 5.0), (2, 5.0), (2, 20.0))
    ]
    assert psnrs == sorted(psnrs)


def test_the_linear_baseline_sends_large_images_square_by_square(dataset: Dataset) -> None:
    side = dataset.images[0].shape[0]
    flat = torch.stack([torch.from_numpy(i).permute(2, 0, 1).flatten() for i in dataset.images])
    code = fit_linear(flat.float() / 255, 4)
    first, second = dataset.images[:2]
    upright, wide = np.concatenate([first] * 2, axis=0), np.concatenate([second] * 2, axis=1)
    large = Dataset("set", "test", [upright, wide])
    record, _ = evaluate_linear(code, large, Cell("1/768", 40.0), Meter(), k=2, seed=0)
    assert (record.k, record.n, record.image_size) == (4, 2, "mixed")
    small = Dataset("set", "test", [first, second])
    singly, _ = evaluate_linear(code, small, Cell("1/768", 40.0), Meter(), k=2, seed=0)
    # Nearly without noise, a square is what it is alone.
    assert record.psnr_db.mean == pytest.approx(singly.psnr_db.mean, abs=0.1)
    odd = Dataset("set", "test", [upright[: side + 1], upright[: side + 1]])
    with pytest.raises(InvalidInputError, match=f"made of squares of {side}x{side}"):
        evaluate_linear(code, odd, Cell("1/768", 0.0), Meter(), k=2, seed=0)
    uneven = Dataset("set", "test", [upright, dataset.images[0]])
    with pytest.raises(InvalidInputError, match="same number of pixels"):
        evaluate_linear(code, uneven, Cell("1/768", 0.0), Meter(), k=2, seed=0)


def test_results_survive_the_disk(bundles: Path, dataset: Dataset, tmp_path: Path) -> None:
    with LocalLink(bundles=bundles) as link:
        record, _ = evaluate_cell(
            link, link.models()[0], dataset, Cell("1/48", 1.0), Meter(), seed=0, scheme="deepjscc"
        )
    path = tmp_path / "new" / "results.json"
    write_results(path, ResultFile(command="c", version="v", commit="d", records=[record, record]))
    (read, _) = read_result_file(path).records
    assert read.psnr_db.mean == pytest.approx(record.psnr_db.mean, rel=1e-5)
    rounded = {"psnr_db", "ms_ssim", "grid_2", "grid_4", "grid_8", "grid_16"}
    assert read.model_dump(exclude=rounded) == record.model_dump(exclude=rounded)
    assert read.grid == pytest.approx(record.grid, rel=1e-5)


@pytest.mark.parametrize("text", ["{}", "not json", '{"format": 2}'])
def test_a_file_that_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=r"r\.json"):
        read_result_file(path)


def test_images_are_evenly_spaced_and_keep_their_size(photos: Path) -> None:
    every_other = load_dataset(photos, 3, 0, "", "")
    assert every_other.size == "48x40"
    assert (every_other.name, every_other.split) == (photos.parent.name, "test")
    whole = load_dataset(photos, 0, 0, "", "")
    assert len(whole.images) == 7
    for position, image in zip((0, 2, 4), every_other.images, strict=True):
        np.testing.assert_array_equal(image, whole.images[position])


def test_snrs_are_numbers_between_commas() -> None:
    assert parse_snrs("-5,0,2.5", "--snr-db") == [-5.0, 0.0, 2.5]
    with pytest.raises(InvalidInputError, match="--snr-db"):
        parse_snrs("-5;0", "--snr-db")


def test_the_command_writes_what_it_shows(bundles: Path, photos: Path, tmp_path: Path) -> None:
    write_photos(tmp_path / "train", 40)
    path = tmp_path / "r.json"
    flags = ["--bundles", str(bundles), "--rate", "1/192", "--snr-db=-5,5", "--size", "32"]
    flags += ["--told-snr-db=-5,5"]
    flags += ["--perceptual", "none", "--no-frechet", "--linear", str(tmp_path / "train")]
    done = genjscc("evaluate", str(photos), str(path), *flags)
    assert done.returncode == 0, done.stderr
    content = json.loads(path.read_text())
    assumed = [
        (r["scheme"], r.get("bundle"), r["snr_db"], r.get("told_snr_db"))
        for r in content["records"]
    ]
    assert len(set(assumed)) == len(assumed) == 2 * 2 * 2 + 2
    assert "evaluate" in content["command"]
    with Image.open(path.with_suffix(".png")) as picture:
        assert picture.width > picture.height > 200


def test_the_command_does_rayleigh_fading_as_well(
    bundles: Path, photos: Path, tmp_path: Path
) -> None:
    usual = ["--bundles", str(bundles), "--size", "32"]
    usual += ["--snr-db=20", "--perceptual", "none", "--no-frechet", "--num", "4"]
    app, runner = typer.Typer(), CliRunner()
    register(app)
    psnrs = {}
    for noise in ("awgn", "rayleigh"):
        target = tmp_path / f"{noise}.json"
        done = runner.invoke(app, [str(photos), str(target), *usual, "--noise", noise])
        assert done.exit_code == 0, done.output
        (record, *_) = read_result_file(target).records
        psnrs[record.channel] = record.psnr_db.mean
    assert psnrs["awgn"] != psnrs["fading"]
    for wrong in (["--noise", "rician"], ["--noise", "rayleigh", "--linear", str(photos)]):
        refused = runner.invoke(app, [str(photos), str(tmp_path / "no.json"), *usual, *wrong])
        assert refused.exit_code != 0
        assert isinstance(refused.exception, InvalidInputError)
        assert "--noise" in str(refused.exception)
