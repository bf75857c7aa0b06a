# SPDX-License-Identifier: Apache-2.0
"""InverseJSCC against DeepJSCC of the same pairs, by the commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from genjscc.cli.commands.compare import compare
from genjscc.cli.commands.evaluate import evaluate
from genjscc.errors import InvalidInputError
from genjscc.report.files import read_result_file
from tests.helpers.photo_folders import write_photos
from tests.helpers.tiny_bundles import MULTI, SINGLE

QUICK = ["steps=1", "perceptual_weight=0", "image_perceptual_weight=0"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faces") / "test"
    write_photos(folder, 2, (64, 64))
    return folder


def test_each_models_inversion_is_compared_with_its_own_decoder(
    bundles: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = {"perceptual": "none", "frechet": False, "bundles": bundles, "num": 2}
    results = tmp_path / "r.json"
    cells = {"rate": ["1/192"], "snr_db": "0"}
    schemes = ["deepjscc", "inverse"]
    evaluate(photos, results, scheme=schemes, against="own", inversion=QUICK, **cells, **common)
    found = read_result_file(results)
    assert {(r.bundle, r.scheme, r.inversion is None) for r in found.records} == {
        (model, scheme, scheme == "deepjscc") for model in (MULTI, SINGLE) for scheme in schemes
    }
    asked = next(r.inversion for r in found.records if r.inversion is not None)
    assert asked == {
        "steps": [1],
        "perceptual_weight": 0.0,
        "image_perceptual_weight": 0.0,
    }
    means = {(r.bundle, r.scheme): r.psnr_db.mean for r in found.records}
    assert {d.bundle for d in found.differences} == {MULTI, SINGLE}
    for one in found.differences:
        assert (one.against_bundle, one.against_scheme) == (one.bundle, "deepjscc")
        assert one.means["psnr_db"].mean == pytest.approx(
            means[one.bundle, "inverse"] - means[one.bundle, "deepjscc"], abs=1e-3
        )
    shown = " ".join(capsys.readouterr().out.split())
    assert f"minus {MULTI} (deepjscc), {SINGLE} (deepjscc), each from its own model" in shown
    with pytest.raises(InvalidInputError, match="decodes by deepjscc"):
        evaluate(
            photos, tmp_path / "refused.json", scheme=["inverse"], against="own", **cells, **common
        )


def test_a_sheet_has_a_column_for_each_scheme(bundles: Path, photos: Path, tmp_path: Path) -> None:
    widths = []
    for scheme in (["inverse"], ["deepjscc", "inverse"]):
        sheet = tmp_path / f"{len(scheme)}.png"
        compare(
            model=[SINGLE],
            output=sheet,
            scheme=scheme,
            inversion=QUICK,
            rate="1/192",
            snr_db="0",
            data=photos,
            num=2,
            bundles=bundles,
        )
        with Image.open(sheet) as picture:
            widths.append(picture.size[0])
    tile, gap = 112, 4
    assert widths[1] - widths[0] == tile + gap
