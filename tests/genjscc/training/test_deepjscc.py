# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from genjscc.bundles.store import read_config
from genjscc.errors import InvalidInputError
from genjscc.quality.perceptual import perceptual
from genjscc.repository import REPOSITORY
from genjscc.training.config import DeepJSCCConfig, load_config
from genjscc.training.deepjscc import DeepJSCCTraining, fit
from genjscc.training.export import export_run
from genjscc.training.loop import fit as loop_fit
from genjscc.training.loop import schedule_at
from tests.helpers.photo_folders import write_photos
from tests.helpers.tiny_bundles import MULTI, SINGLE, write_both
from tests.helpers.tiny_trainings import fit_in_two_runs, one_process, tiny_deepjscc
from transmitter.encoder import encode
from transmitter.models import load_encoder

SHIPPED = sorted((REPOSITORY / "configs" / "train").glob("deepjscc_*.yaml"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    write_photos(root / "train", 24)
    write_photos(root / "val", 6)
    return root


def weights(training: DeepJSCCTraining) -> dict[str, Tensor]:
    return {**training.pair.state_dict()} | {
        f"average.{name}": value
        for name, value in (
            training.average.module.state_dict() if training.average else {}
        ).items()
    }


@pytest.mark.parametrize(
    "changes", [{}, {"schedule": "plateau"}, {"width": 16, "muon_learning_rate": 0.01}]
)
def test_a_resumed_run_is_bit_equal_to_an_unbroken_one(
    photos: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    config = tiny_deepjscc(photos, **changes)
    unbroken = fit(config, tmp_path / "unbroken", one_process())
    resumed = fit_in_two_runs(config, tmp_path / "broken", 3)
    assert resumed.step == unbroken.step == 6
    mine, theirs = weights(resumed), weights(unbroken)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_it_learns(photos: Path, tmp_path: Path) -> None:
    # Six pictures, learned by heart.
    known = {"train": photos / "val", "batch_size": 6, "learning_rate": 3e-3, "ema_decay": 0.0}
    config = tiny_deepjscc(photos, **known, images=1200, validate_every=600)
    untrained = DeepJSCCTraining(config, tmp_path / "untrained", one_process()).validate()
    fit(config, tmp_path, one_process())
    with (tmp_path / "validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert float(rows[-1]["loss"]) < 0.85 * untrained["loss"]
    assert float(rows[-1]["psnr_8ch_+5dB"]) > float(rows[-1]["psnr_2ch_-5dB"]) + 0.2
    assert list(tmp_path.glob("sheet_*.png"))
    assert list((tmp_path / "tensorboard").iterdir())


def test_every_parameter_gets_a_gradient(photos: Path, tmp_path: Path) -> None:
    training = DeepJSCCTraining(tiny_deepjscc(photos), tmp_path, one_process())
    training.train_step(next(training.batches()))
    for name, parameter in training.pair.named_parameters():
        assert parameter.grad is not None, name
        # The fused Adam on a CPU reads both in memory order.
        assert parameter.grad.stride() == parameter.stride(), name


def test_the_perceptual_term_joins_when_it_is_due(photos: Path, tmp_path: Path) -> None:
    config = tiny_deepjscc(photos, image_size=64, perceptual="st-lpips-alex", perceptual_after=4)
    training = DeepJSCCTraining(config, tmp_path, one_process())
    batches = training.batches()
    first, second = (training.train_step(next(batches)) for _ in range(2))
    assert set(first) == {"loss", "mse"}
    assert float(second["loss"]) == pytest.approx(
        float(second["mse"]) + float(second["perceptual"]), rel=1e-5
    )


def test_the_mean_of_several_distances_counts(photos: Path, tmp_path: Path) -> None:
    names = ("st-lpips-alex", "st-lpips-vgg")
    training = DeepJSCCTraining(
        tiny_deepjscc(photos, image_size=64, perceptual=names), tmp_path, one_process()
    )
    assert training.perceptual is not None
    x, y = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    expected = torch.stack([perceptual(name)(x, y) for name in names]).mean(0)
    torch.testing.assert_close(training.perceptual(x, y), expected, rtol=1e-4, atol=1e-5)


def test_plateau_lowers_the_rate_and_stops(photos: Path, tmp_path: Path) -> None:
    config = tiny_deepjscc(photos, schedule="plateau", patience=8)
    training = DeepJSCCTraining(config, tmp_path, one_process())
    training._note_plateau(1.0)
    for _ in range(7):
        training._note_plateau(1.0)
    assert training.plateau_factor == 0.8
    assert not training.finished
    training._note_plateau(1.0)
    assert training.plateau_factor == pytest.approx(0.64)
    assert training.finished
    training._note_plateau(0.5)
    assert not training.finished


def test_learning_rate_warms_up_and_falls_to_one_percent(photos: Path) -> None:
    config = tiny_deepjscc(photos, images=1000, warmup_images=100)
    assert schedule_at(config, 49, 1000) == pytest.approx(0.5)
    assert schedule_at(config, 100, 1000) == pytest.approx(1, rel=0.03)
    assert schedule_at(config, 1000, 1000) == pytest.approx(0.01)


def test_wsd_holds_the_rate_and_then_lowers_it_to_one_percent(photos: Path) -> None:
    config = tiny_deepjscc(photos, images=1000, schedule="wsd", decay_images=200)
    assert schedule_at(config, 790, 1000) == 1
    assert schedule_at(config, 900, 1000) == pytest.approx(0.505)
    # A stage that is shorter than the decay is all decay.
    assert schedule_at(config, 50, 100) == pytest.approx(0.505)
    assert schedule_at(config, 1000, 1000) == pytest.approx(0.01)


def test_a_linear_path_learns_first_and_the_network_joins_it(photos: Path, tmp_path: Path) -> None:
    config = tiny_deepjscc(photos, linear_path=True, linear_images=8, images=16)
    training = DeepJSCCTraining(config, tmp_path / "run", one_process())
    untrained = {name: value.clone() for name, value in weights(training).items()}
    changed: list[set[str]] = []

    def note(training: DeepJSCCTraining, _: dict[str, float]) -> None:
        now = training.pair.state_dict()
        changed.append({n for n, v in now.items() if not torch.equal(v, untrained[n])})

    loop_fit(training, note)
    assert changed[0]
    assert all(".linear." in name for name in changed[1])
    assert any(".network." in name for name in changed[-1])
    exported = export_run(tmp_path / "run", tmp_path, name="x", domain="pictures", licence="none")
    assert exported.linear_path
    load_encoder(tmp_path, exported)


def test_a_linear_path_beats_the_mean_image_before_any_training(
    photos: Path, tmp_path: Path
) -> None:
    plain = DeepJSCCTraining(tiny_deepjscc(photos), tmp_path / "plain", one_process()).validate()
    begun = DeepJSCCTraining(
        tiny_deepjscc(photos, linear_path=True), tmp_path / "begun", one_process()
    ).validate()
    assert begun["psnr_8ch_+5dB"] > plain["psnr_8ch_+5dB"] + 1


def test_a_bundle_without_a_linear_path_cannot_begin_a_run_with_one(
    photos: Path, tmp_path: Path
) -> None:
    write_both(tmp_path)
    config = tiny_deepjscc(
        photos,
        symbol_channels=32,
        channel_steps=(2, 8, 32),
        initial_bundle=tmp_path / MULTI,
        linear_path=True,
    )
    with pytest.raises(InvalidInputError, match=r"initial_bundle: .*linear_path False; this run"):
        DeepJSCCTraining(config, tmp_path / "run", one_process())


def test_a_logarithmic_loss_weighs_decibels_alike(photos: Path, tmp_path: Path) -> None:
    training = DeepJSCCTraining(tiny_deepjscc(photos, mse_scale="log"), tmp_path, one_process())
    images = torch.full((2, 3, 16, 16), 0.5)
    good, bad = images + 0.1, images + 0.2
    losses = [float(training.terms(images, x_hat)["loss"]) for x_hat in (good, bad)]
    # 6 dB, less what the offset takes away.
    assert losses[1] - losses[0] == pytest.approx(math.log(4), rel=0.01)
    assert float(training.terms(images, good)["mse"]) == pytest.approx(0.01)


def losses(folder: Path) -> list[float]:
    with (folder / "validation.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_a_killed_command_saves_and_goes_on(photos: Path, tmp_path: Path) -> None:
    config, run = tiny_deepjscc(photos, images=4_000_000), tmp_path / "killed"
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    command = [sys.executable, "-m", "genjscc", "train", "deepjscc", str(tmp_path / "run.yaml")]
    command += [str(run), "--accelerator", "cpu", "--precision", "32-true", "--threads", "1"]
    process = subprocess.Popen(command, cwd=REPOSITORY)
    while not (run / "validation.csv").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    assert state["step"] >= 3
    more = config.model_copy(update={"images": state["images"] + 8})
    assert fit(more, run, one_process()).step == state["step"] + 2


def test_a_run_becomes_a_bundle_that_computes_the_same(photos: Path, tmp_path: Path) -> None:
    training = fit(tiny_deepjscc(photos), tmp_path / "run", one_process())
    fields = {"name": "mine", "domain": "test pictures", "licence": "none"}
    config = export_run(tmp_path / "run", tmp_path / "models", **fields)
    assert read_config(tmp_path / "models" / "mine") == config
    card = (tmp_path / "models" / "mine" / "card.md").read_text()
    assert "1/768, 1/192" in card
    assert "24 training images" in card
    loaded = load_encoder(tmp_path / "models", config)
    images, snr_db = torch.rand(2, 3, 16, 16), torch.zeros(2)
    assert training.average is not None
    with torch.no_grad():
        expected = encode(training.average.module.encoder, images, snr_db, 2)
        found = encode(loaded, images, snr_db, 2)
    assert (found - expected).abs().max() < 1e-2  # float16 weights


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_start_on_a_small_folder(photos: Path, tmp_path: Path, path: Path) -> None:
    small: dict[str, object] = {
        "train": photos / "train",
        "val": photos / "val",
        "initial_bundle": None,
        "image_size": 16,
        "width": 8,
        "freeze_encoder": False,
        "perceptual": None,
        "perceptual_side": 0,
        "adversarial": 0.0,
        "batch_size": 4,
        "images": 8,
        "linear_images": 0,
        "validate_every": 8,
        "validate_size": 0,
        "workers": 0,
    }
    training = fit(load_config(DeepJSCCConfig, path, small), tmp_path, one_process())
    assert training.finished
    assert losses(tmp_path)


def test_a_run_does_not_change_its_optimiser(photos: Path, tmp_path: Path) -> None:
    fit(tiny_deepjscc(photos, images=4, width=16), tmp_path, one_process())
    with pytest.raises(InvalidInputError, match=r"muon_learning_rate: got 0\.01"):
        DeepJSCCTraining(
            tiny_deepjscc(photos, width=16, muon_learning_rate=0.01), tmp_path, one_process()
        )


def test_exporting_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="holds no checkpoint"):
        export_run(tmp_path / "no", tmp_path, name="x", domain="", licence="")


def test_a_new_run_starts_from_a_bundle_and_a_resumed_one_does_not(
    photos: Path, tmp_path: Path
) -> None:
    write_both(tmp_path)
    config = tiny_deepjscc(
        photos,
        symbol_channels=32,
        channel_steps=(2, 8, 32),
        initial_bundle=tmp_path / MULTI,
        images=4,
        learning_rate=1e-12,
    )
    training = fit(config, tmp_path / "run", one_process())
    bundle = load_encoder(tmp_path, read_config(tmp_path / MULTI))
    for name, value in bundle.state_dict().items():
        torch.testing.assert_close(training.pair.encoder.state_dict()[name], value)
    for file in (tmp_path / MULTI).iterdir():
        file.unlink()
    assert fit(config, tmp_path / "run", one_process()).step == 1


def test_an_initial_bundle_of_another_size_is_refused(photos: Path, tmp_path: Path) -> None:
    write_both(tmp_path)
    with pytest.raises(InvalidInputError, match=r"initial_bundle: .*channel_steps \(\); this run"):
        fit(
            tiny_deepjscc(photos, initial_bundle=tmp_path / SINGLE), tmp_path / "run", one_process()
        )
