# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in trainings: other batches, numbers that are none, bad files, hang-ups."""

from __future__ import annotations

import logging
import math
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric

from genjscc.errors import DivergedError, InvalidInputError
from genjscc.training.config import DeepJSCCConfig
from genjscc.training.data import ImageFolder, fingerprint, list_images
from genjscc.training.deepjscc import DeepJSCCTraining, fit
from genjscc.training.export import export_run
from genjscc.training.run import RunFolder
from tests.helpers.photo_folders import write_photos


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    write_photos(root / "train", 12)
    write_photos(root / "val", 3)
    return root


def tiny(photos: Path, **changes: object) -> DeepJSCCConfig:
    fields: dict[str, object] = {
        "train": photos / "train",
        "val": photos / "val",
        "image_size": 16,
        "width": 8,
        "perceptual": None,
        "batch_size": 4,
        "images": 12,
        "schedule": "cosine",
        "validate_every": 1000,
        "validate_images": 3,
    }
    return DeepJSCCConfig.model_validate({**fields, **changes})


def one_process() -> Fabric:
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    fabric.launch()
    return fabric


def test_a_run_goes_on_with_its_own_batches_alone(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit(tiny(photos), run, one_process())
    with pytest.raises(InvalidInputError, match=r"batch_size: got 2 .* goes on with 4"):
        fit(tiny(photos, batch_size=2, images=24), run, one_process())
    more = fit(tiny(photos, images=24), run, one_process())
    assert (more.step, more.images, more.finished) == (6, 24, True)


def test_a_run_goes_on_through_its_own_images_alone(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit(tiny(photos), run, one_process())
    (photos / "train" / "photo_003.png").unlink()
    with pytest.raises(InvalidInputError, match="train: holds other images than the run"):
        fit(tiny(photos, images=24), run, one_process())
    write_photos(photos / "train", 12)
    moved = tmp_path / "moved"
    shutil.copytree(photos, moved)
    assert fit(tiny(moved, images=24), run, one_process()).images == 24


def test_runs_from_before_the_images_were_kept_go_on(photos: Path, tmp_path: Path) -> None:
    fit(tiny(photos), tmp_path / "run", one_process())
    path = RunFolder(tmp_path / "run").checkpoint
    state = torch.load(path, weights_only=True)
    del state["data"]
    torch.save(state, path)
    assert fit(tiny(photos, images=24), tmp_path / "run", one_process()).images == 24


def poisoned(training: DeepJSCCTraining, at: int, value: float) -> None:
    """Weights that are no numbers from one step on."""
    if training.step == at:
        with torch.no_grad():
            next(training.pair.parameters()).fill_(value)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("at", [2, 3], ids=["between steps", "at the last step"])
def test_numbers_that_are_none_end_a_run_and_spare_its_checkpoint(
    photos: Path, tmp_path: Path, value: float, at: int
) -> None:
    run = tmp_path / "run"
    fit(tiny(photos, images=4), run, one_process())
    good = (run / "checkpoint.pt").read_bytes()
    with pytest.raises(DivergedError, match=r"not finite any more; last good .*checkpoint\.pt"):
        fit(tiny(photos), run, one_process(), lambda t, _: poisoned(t, at, value))
    assert (run / "checkpoint.pt").read_bytes() == good
    assert fit(tiny(photos), run, one_process()).finished


def test_one_bad_file_is_left_out_by_name(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (photos / "train" / "photo_002.png").write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    (photos / "val" / "photo_000.png").write_bytes(b"")
    (photos / "train" / "._photo_001.png").write_bytes(b"\0\5\26\7")
    with caplog.at_level(logging.WARNING):
        training = fit(tiny(photos, images=36), tmp_path / "run", one_process())
    assert training.finished
    for name, problem in (
        ("photo_002.png", "left out, number 1 of those"),
        ("photo_000.png", "left out, number 1 of those"),
        ("._photo_001.png", "1 files as"),
    ):
        assert any(name in line and problem in line for line in caplog.messages)
    assert sum("photo_002.png" in line for line in caplog.messages) == 1


def test_the_next_image_stands_in_for_a_bad_one(photos: Path) -> None:
    folder = photos / "train"
    data = ImageFolder(folder, 16)
    bad = sorted(folder.iterdir())[11]
    bad.write_bytes(b"no picture")
    torch.testing.assert_close(ImageFolder(folder, 16)[11], data[0])
    for path in folder.iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(InvalidInputError, match="none of the 12 images can be read"):
        ImageFolder(folder, 16)[5]


def test_a_missing_validation_folder_is_found_at_the_start(photos: Path, tmp_path: Path) -> None:
    shutil.rmtree(photos / "val")
    with pytest.raises(InvalidInputError, match="val is not a folder"):
        DeepJSCCTraining(tiny(photos), tmp_path / "run", one_process())


def test_linked_folders_are_followed_and_circles_end(photos: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "disk"
    write_photos(elsewhere / "deep", 2)
    (photos / "train" / "linked").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(photos / "train")
    found = list_images(photos / "train")
    assert len(found) == 14
    assert photos / "train" / "linked" / "deep" / "photo_001.png" in found
    assert found == sorted(found)
    assert len(fingerprint(photos / "train")) == 64


@pytest.fixture
def hang_up_by_default() -> Iterator[None]:
    """SIGHUP as a terminal has it: under nohup these tests would inherit that it is ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def interrupted(number: signal.Signals, photos: Path, run: Path) -> DeepJSCCTraining:
    """A run of ten steps that gets a signal after its second."""

    def send(training: DeepJSCCTraining, _: Any) -> None:
        if training.step == 2:
            signal.raise_signal(number)

    return fit(tiny(photos, images=40), run, one_process(), send)


@pytest.mark.usefixtures("hang_up_by_default")
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_means_what_it_did_before(
    photos: Path, tmp_path: Path, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    training = interrupted(number, photos, tmp_path / "run")
    assert (training.step, training.finished) == (2, False)
    state = RunFolder(tmp_path / "run").load()
    assert state is not None
    assert state["step"] == 2
    assert signal.getsignal(number) == before


@pytest.mark.usefixtures("hang_up_by_default")
def test_a_run_under_nohup_goes_on(photos: Path, tmp_path: Path) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert interrupted(signal.SIGHUP, photos, tmp_path / "run").finished
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04" + bytes(90)])
def test_a_damaged_checkpoint_is_one_line(photos: Path, tmp_path: Path, content: bytes) -> None:
    run = tmp_path / "run"
    fit(tiny(photos), run, one_process())
    (run / "checkpoint.pt").write_bytes(content)
    for use in (
        lambda: fit(tiny(photos), run, one_process()),
        lambda: export_run(run, tmp_path / "out", name="x", domain="d", licence="l"),
    ):
        with pytest.raises(InvalidInputError, match=r"run: .*checkpoint\.pt is damaged"):
            use()
    torch.save({"something": 1}, run / "checkpoint.pt")
    with pytest.raises(InvalidInputError, match="is not a checkpoint of a training"):
        fit(tiny(photos), run, one_process())


def test_a_run_that_could_not_be_written_does_not_begin(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for where in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(InvalidInputError, match="run: cannot write to"):
            DeepJSCCTraining(tiny(photos), where, one_process())
