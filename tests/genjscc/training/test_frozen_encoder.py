# SPDX-License-Identifier: Apache-2.0
"""Training of a decoder alone, with the adversarial and the grid term."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from genjscc.bundles.config import BundleConfig
from genjscc.bundles.store import DECODER, read_config, write_bundle
from genjscc.errors import InvalidInputError
from genjscc.quality.grid import grid_shares
from genjscc.training.config import DeepJSCCConfig
from genjscc.training.deepjscc import DeepJSCCTraining, fit
from genjscc.training.draws import draw_window
from genjscc.training.export import export_run
from receiver.deepjscc import Decoder
from tests.helpers.photo_folders import write_photos
from tests.helpers.tiny_bundles import MULTI, fill_by_rule, write_both
from tests.helpers.tiny_trainings import fit_in_two_runs, one_process, tiny_deepjscc
from transmitter.encoder import Encoder
from transmitter.models import load_encoder

ADVERSARIAL = {"image_size": 64, "adversarial": 0.3, "adversarial_after": 4, "batch_size": 2}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    write_photos(root / "train", 24)
    write_photos(root / "val", 6)
    return root


@pytest.fixture
def pair(tmp_path: Path) -> BundleConfig:
    return write_both(tmp_path / "models")[MULTI]


def decoder_alone(photos: Path, models: Path, **changes: object) -> DeepJSCCConfig:
    fields: dict[str, object] = {
        "symbol_channels": 32,
        "channel_steps": (2, 8, 32),
        "initial_bundle": models / MULTI,
        "freeze_encoder": True,
        "images": 8,
    }
    return tiny_deepjscc(photos, **{**fields, **changes})


def rewrite(root: Path, pair: BundleConfig) -> None:
    """Write a pair by the same name with other weights."""
    sizes = (8, pair.symbol_channels, pair.channel_steps)
    declared = pair.model_dump(exclude={"pair_id", "shared_encoder", "files"})
    halves = (fill_by_rule(Encoder(*sizes), 98), fill_by_rule(Decoder(*sizes), 99))
    write_bundle(root, *halves, card="", declared=declared)


def test_the_decoder_learns_and_the_encoder_stays(
    photos: Path, tmp_path: Path, pair: BundleConfig
) -> None:
    training = DeepJSCCTraining(
        decoder_alone(photos, tmp_path / "models"), tmp_path / "run", one_process()
    )
    before = {name: value.clone() for name, value in training.pair.state_dict().items()}
    training.train_step(next(training.batches()))
    after = training.pair.state_dict()
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"decoder"}
    given = load_encoder(tmp_path / "models", pair).state_dict()
    assert all(torch.equal(after[f"encoder.{name}"], given[name]) for name in given)


def test_it_becomes_a_bundle_without_an_encoder(
    photos: Path, tmp_path: Path, pair: BundleConfig
) -> None:
    config = decoder_alone(photos, tmp_path / "models", grid_weight=0.5)
    fit(config, tmp_path / "run", one_process())
    fields = {"name": "second", "domain": "test pictures", "licence": "none"}
    written = export_run(tmp_path / "run", tmp_path / "models", **fields)
    assert written.shared_encoder is not None
    assert written.shared_encoder.pair_id == written.codeword_pair_id == pair.pair_id
    assert set(written.files) == {DECODER}
    assert read_config(tmp_path / "models" / "second") == written
    card = (tmp_path / "models" / "second" / "card.md").read_text()
    assert f"codewords of `{MULTI}`" in card
    assert "0.5 x grid share" in card
    rewrite(tmp_path / "other", pair)
    with pytest.raises(InvalidInputError, match=r"bundles: .*another encoder"):
        export_run(tmp_path / "run", tmp_path / "other", **fields)


def test_another_encoder_stops_a_resumed_run(
    photos: Path, tmp_path: Path, pair: BundleConfig
) -> None:
    config = decoder_alone(photos, tmp_path / "models")
    fit(config, tmp_path / "run", one_process())
    rewrite(tmp_path / "models", pair)
    with pytest.raises(InvalidInputError, match="encoder"):
        DeepJSCCTraining(config, tmp_path / "run", one_process())


def test_an_adversarial_run_resumes_bit_for_bit(
    photos: Path, tmp_path: Path, pair: BundleConfig
) -> None:
    config = decoder_alone(photos, tmp_path / "models", **ADVERSARIAL)
    seen: list[dict[str, float]] = []
    unbroken = fit(config, tmp_path / "unbroken", one_process(), lambda _, v: seen.append(v))
    # Two steps without it, then it joins, and its gradient counts.
    assert ["adversarial" in values for values in seen[:4]] == [False, False, True, True]
    assert all(values["adversarial"] != 0 for values in seen[2:4])
    resumed = fit_in_two_runs(config, tmp_path / "broken", 3)
    assert resumed.step == unbroken.step == 4
    mine, theirs = resumed.pair.state_dict(), unbroken.pair.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    heads, others = (run.further_state()["heads"] for run in (resumed, unbroken))
    assert all(torch.equal(heads[name], others[name]) for name in others)


def test_the_grid_term_is_the_mean_share_of_all_periods(
    photos: Path, tmp_path: Path, pair: BundleConfig
) -> None:
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    rows = torch.arange(32) % 2
    dotted = images + 0.1 * (rows[:, None] * rows)
    config = decoder_alone(photos, tmp_path / "models", grid_weight=2.0, image_size=32)
    training = DeepJSCCTraining(config, tmp_path / "run", one_process())
    terms = training.terms(images, dotted)
    assert float(terms["grid"]) == pytest.approx(float(grid_shares(images, dotted).mean()))
    assert float(terms["grid"]) > 0.5
    expected = float(terms["mse"]) + 2 * float(terms["grid"])
    assert float(terms["loss"]) == pytest.approx(expected, rel=1e-5)


def test_windows_of_the_perceptual_term_start_at_any_pixel() -> None:
    corners = {(w[0].start % 16, w[1].start % 16) for w in map(window_of_step, range(4000))}
    assert len(corners) == 256
    rows, columns = window_of_step(3)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (64, 64)
    starts = np.array([window_of_step(step)[0].start for step in range(4000)])
    assert (starts.min(), starts.max()) == (0, 64)


def window_of_step(step: int) -> tuple[slice, slice]:
    return draw_window(1, step, 128, 64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"initial_bundle": None}, "freeze_encoder: got true; initial_bundle must"),
        ({"linear_path": True, "linear_images": 4}, "linear_images: got some"),
        ({"perceptual_side": 32}, "perceptual_side: got 32; must be at most image_size"),
        ({"adversarial": -1.0}, "adversarial"),
    ],
)
def test_settings_that_contradict_are_refused(
    photos: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        decoder_alone(photos, tmp_path, **changes)
