# SPDX-License-Identifier: Apache-2.0
"""Two schemes on the same images: differences image by image, and the sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genjscc import LocalLink
from genjscc.cli.commands.compare import compare
from genjscc.cli.commands.evaluate import evaluate
from genjscc.cli.measuring import load_dataset
from genjscc.errors import InvalidInputError, ModelNotFoundError, UnsupportedError
from genjscc.evaluation.paired import differences_from
from genjscc.evaluation.sweep import Cell, Meter, evaluate_cell
from genjscc.quality.statistics import mean_of
from genjscc.report.files import read_result_file
from tests.helpers.photo_folders import write_photos
from tests.helpers.tiny_bundles import GENERATIVE, MULTI, write_tiny, write_tiny_generative


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_tiny(folder, MULTI, steps=(2, 8, 32), channels=32)
    write_tiny_generative(folder)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set") / "test"
    write_photos(folder, 5, size=(64, 64))
    return folder


def test_differences_are_those_of_the_images(root: Path, photos: Path) -> None:
    dataset = load_dataset(photos, 5, 64, "", "")
    outcomes, values = [], {}
    with LocalLink(bundles=root) as link:
        for model in link.models():
            for snr in (0.0, 5.0):
                cell = Cell("1/192", snr)
                outcome = evaluate_cell(
                    link, model, dataset, cell, Meter(), seed=3, scheme=model.scheme
                )
                outcomes.append(outcome)
                values[model.name, snr] = outcome[1].values["psnr_db"]
    found = differences_from(outcomes, bundle=MULTI, scheme="deepjscc")
    assert [(one.bundle, one.against_bundle, one.snr_db) for one in found] == [
        (GENERATIVE, MULTI, 0.0),
        (GENERATIVE, MULTI, 5.0),
    ]
    for one in found:
        first, second = values[GENERATIVE, one.snr_db], values[MULTI, one.snr_db]
        by_hand = mean_of(list(np.array(first) - np.array(second)))
        assert one.means["psnr_db"].mean == pytest.approx(by_hand.mean)
        assert one.means["psnr_db"].ci95 == pytest.approx(by_hand.ci95)
        assert set(one.means) == {"psnr_db", "ms_ssim"}


def test_cells_of_one_side_alone_have_no_difference(root: Path, photos: Path) -> None:
    dataset = load_dataset(photos, 2, 64, "", "")
    with LocalLink(bundles=root) as link:
        outcomes = [
            evaluate_cell(link, model, dataset, cell, Meter(), seed=0, scheme=model.scheme)
            for model, cell in zip(
                link.models(), (Cell("1/192", 0.0), Cell("1/48", 0.0)), strict=True
            )
        ]
    assert differences_from(outcomes, bundle=MULTI, scheme="deepjscc") == []


def test_evaluate_writes_them_beside_the_records(
    root: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = {"perceptual": "none", "frechet": False, "bundles": root, "num": 3}
    evaluate(photos, tmp_path / "r.json", snr_db="0", rate=["1/48"], against=MULTI, **common)
    results = read_result_file(tmp_path / "r.json")
    assert {(r.bundle, r.scheme) for r in results.records} == {
        (MULTI, "deepjscc"),
        (GENERATIVE, "generative"),
    }
    (difference,) = results.differences
    means = {r.bundle: r.psnr_db.mean for r in results.records}
    assert difference.means["psnr_db"].mean == pytest.approx(
        means[GENERATIVE] - means[MULTI], abs=1e-3
    )
    assert f"minus {MULTI} (deepjscc)" in capsys.readouterr().out.replace("\n", " ")
    with pytest.raises(ModelNotFoundError, match="'gone'"):
        evaluate(photos, tmp_path / "gone.json", against="gone", **common)
    with pytest.raises(InvalidInputError, match="decodes by deepjscc"):
        evaluate(photos, tmp_path / "gone.json", against=MULTI, scheme=["generative"], **common)
    with pytest.raises(UnsupportedError, match="offers SCHEME_DEEP_JSCC"):
        evaluate(photos, tmp_path / "gone.json", model=[MULTI], scheme=["generative"], **common)


def test_the_sheet_has_a_column_for_each_model_and_snr(
    root: Path, photos: Path, tmp_path: Path
) -> None:
    sizes = []
    for snrs in ("0", "-5,0"):
        sheet = tmp_path / "sheets" / f"{snrs}.png"
        models = [MULTI, GENERATIVE]
        compare(
            model=models,
            output=sheet,
            rate="1/768",
            snr_db=snrs,
            data=photos,
            num=2,
            bundles=root,
        )
        with Image.open(sheet) as picture:
            sizes.append(picture.size)
    tile, gap, group_gap = 112, 4, 16
    assert sizes[1][0] - sizes[0][0] == 2 * tile + gap + group_gap
    assert sizes[0][1] >= sizes[1][1] > 2 * tile  # the title needs more lines over few columns
    with pytest.raises(InvalidInputError, match="goes without photos"):
        compare([photos / "a"], models, data=photos, bundles=root)
    with pytest.raises(InvalidInputError, match="goes with --model"):
        compare(scheme=["inverse"], data=photos, bundles=root)
