# SPDX-License-Identifier: Apache-2.0
"""`genjscc compare` of photos, without models that are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.command_line import Done, genjscc
from tests.helpers.photo_folders import write_photos


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, 1, (90, 120))
    return next(folder.iterdir())


def run(*words: object, **variables: str) -> tuple[Done, list[Any], list[str]]:
    done = genjscc("compare", *map(str, words), "--json", **variables)
    found = json.loads(done.stdout)
    return done, found.get("results", []), found.get("files", [])


def test_a_photo_is_sent_as_it_is_and_digitally_with_as_many_symbols(
    photo: Path, bundles: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = (photo, "--bundles", bundles, "--output", out, "--digital", "capacity")
    done, results, files = run(*words, "--rate", "1/48", "--snr-db=-5,30", "--codec", "jpeg")
    assert done.returncode == 0, done.stderr
    assert files == [str(out / f"{photo.stem}_compared_1-48_-5_30dB.png")]
    assert [(one["link"], one["snr_db"]) for one in results] == [
        (link, snr) for snr in (-5, 30) for link in ("DeepJSCC", "jpeg, capacity")
    ]
    # 120x90 padded to 128x96, and all of its samples
    assert {one["k"] for one in results} == {128 * 96 * 3 // 48}
    nothing, something = (one["psnr_db"] for one in results if one["link"] != "DeepJSCC")
    assert nothing < something
    with Image.open(files[0]) as sheet:
        pixels = np.asarray(sheet)
    assert pixels.shape[1] > 5 * 320
    # Another time the picture of before stays.
    *_, again = run(*words, "--rate", "1/48", "--snr-db=-5,30", "--codec", "jpeg")
    assert again == [str(out / f"{photo.stem}_compared_1-48_-5_30dB-2.png")]


def test_a_digital_link_for_one_snr_falls_off_its_cliff(
    photo: Path, bundles: Path, tmp_path: Path
) -> None:
    words = (photo, "--bundles", bundles, "-o", tmp_path / "a.png", "--digital", "capacity")
    _, results, files = run(*words, "--snr-db", "9,10,20", "--digital-snr-db", "10")
    below, at, above = (one["psnr_db"] for one in results if one["link"] == "webp, capacity")
    assert below < at == above
    assert files == [str(tmp_path / "a.png")]


def test_a_square_of_the_models_size_is_sent_by_every_scheme(
    photo: Path, bundles: Path, tmp_path: Path
) -> None:
    words = (photo, "--size", "64", "--bundles", bundles, "-o", tmp_path / "a.png")
    quick = ("steps=1", "perceptual_weight=0", "image_perceptual_weight=0")
    options = [part for one in quick for part in ("--inversion", one)]
    done, results, _ = run(*words, "--snr-db", "0", "--digital", "none", *options)
    assert [one["link"] for one in results] == ["DeepJSCC", "InverseJSCC"]
    assert {one["k"] for one in results} == {256}
    assert all(one["st_lpips_vgg"] > 0 for one in results)
    assert "without GenerativeJSCC: There is no GenerativeJSCC model" in done.stderr


def test_what_cannot_be_compared_is_found_before_the_work(
    photo: Path, bundles: Path, tmp_path: Path
) -> None:
    for words, text in (
        (("--scheme", "inverse"), "--scheme: goes with --model"),
        (("--data", tmp_path), "--data: goes without photos"),
        (("--codec", "gif"), "codec: got 'gif'; there are"),
        (("-o", photo), "output: "),
    ):
        done = genjscc("compare", str(photo), "--bundles", str(bundles), *map(str, words))
        assert done.returncode == 1
        assert text in done.stderr
        assert "Traceback" not in done.stderr
