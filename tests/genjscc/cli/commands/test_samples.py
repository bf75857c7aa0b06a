# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from genjscc.cli.commands.samples import samples
from genjscc.errors import InvalidInputError
from genjscc.evaluation.records import SamplesRecord
from genjscc.evaluation.samples import draw
from genjscc.report.files import read_result_file
from receiver.stylegan2.checkpoints import save_bundle
from tests.helpers.photo_folders import write_photos
from tests.helpers.tiny_generators import tiny_generator


def measured(folder: Path, name: str = "samples", **options: float) -> SamplesRecord:
    results = folder / "out" / f"{name}.json"
    samples(folder / "g", folder / "set" / "val", results, num=8, sets=2, **options)  # type: ignore[arg-type]
    (record,) = read_result_file(results).samples
    return record


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("samples")
    save_bundle(tiny_generator(), made / "g", "card")
    write_photos(made / "set" / "val", 8)
    return made


@pytest.fixture(scope="module")
def record(folder: Path) -> SamplesRecord:
    return measured(folder, seed=3)


def test_it_writes_figures_and_a_sheet(folder: Path, record: SamplesRecord) -> None:
    assert (record.generator, record.dataset, record.split) == ("g", "set", "val")
    assert (record.n, record.references, record.fd_efflite0.n) == (8, 8, 2)
    assert record.fd_efflite0.mean > 0
    assert 0 <= record.coverage.mean <= 1
    with Image.open(folder / "out" / "samples.png") as picture:
        assert picture.size == (16 * tiny_generator().size, 8 * tiny_generator().size)


def test_the_same_seed_gives_the_same_figures(folder: Path, record: SamplesRecord) -> None:
    assert record == measured(folder, "again", seed=3)
    assert record.fd_efflite0 != measured(folder, "other", seed=4).fd_efflite0


def test_full_truncation_leaves_only_the_noise() -> None:
    generator = tiny_generator()
    with torch.no_grad():
        free, again = draw(generator, 3, psi=1.0, seed=0)
        assert not torch.equal(free, again)
        for name, weight in generator.named_parameters():
            if name.endswith("noise.weight"):
                weight.zero_()
        truncated, _ = draw(generator, 3, psi=0.0, seed=0)
        free, again = draw(generator, 3, psi=1.0, seed=0)
    torch.testing.assert_close(truncated[0], truncated[1])
    torch.testing.assert_close(free, again)
    assert (free[0] - free[1]).abs().max() > 0.01


@pytest.mark.parametrize(("name", "value"), [("psi", 1.5), ("sets", 1), ("num", 1)])
def test_bad_options_are_named(folder: Path, name: str, value: float) -> None:
    options = {"num": 8, "sets": 2} | {name: value}
    with pytest.raises(InvalidInputError, match=f"--{name}: got {value:g}"):
        samples(folder / "g", folder / "set" / "val", folder / "no.json", **options)  # type: ignore[arg-type]
