# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

from PIL import Image

from genjscc.cli.commands.invert import invert
from genjscc.report.files import read_result_file
from receiver.stylegan2.checkpoints import save_bundle
from tests.helpers.photo_folders import write_photos
from tests.helpers.tiny_generators import tiny_generator


def test_it_writes_figures_and_pairs_of_pictures(tmp_path: Path) -> None:
    generator = tiny_generator()
    save_bundle(generator, tmp_path / "g", "card")
    write_photos(tmp_path / "set" / "val", 5)
    results = tmp_path / "out" / "inversion.json"
    invert(tmp_path / "g", tmp_path / "set" / "val", results, num=3, steps=2)
    (record,) = read_result_file(results).inversions
    assert (record.generator, record.dataset, record.split) == ("g", "set", "val")
    assert (record.n, record.steps) == (3, 2)
    assert 0 < record.psnr_db.mean < 40
    with Image.open(results.with_suffix(".png")) as picture:
        assert picture.height == 2 * generator.size
