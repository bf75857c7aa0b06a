# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from genjscc.bundles.store import read_config
from genjscc.errors import InvalidInputError
from genjscc.repository import REPOSITORY
from genjscc.serving.settings import ReceiverSettings
from genjscc.training.codes_first import Codes
from genjscc.training.config import GenerativeJSCCConfig, load_config
from genjscc.training.export import export_run
from genjscc.training.generative import FROZEN, GenerativeTraining, fit
from genjscc.training.stylegan2.codes import latent_offset
from receiver.models import load_decoder
from receiver.service import ReceiverEngine
from receiver.stylegan2.checkpoints import load_bundle, save_bundle
from tests.helpers.photo_folders import write_photos
from tests.helpers.tiny_bundles import (
    GENERATIVE,
    GENERATOR,
    MULTI,
    tiny_face_generator,
    write_coded_generator,
    write_tiny,
    write_tiny_generative,
)
from tests.helpers.tiny_trainings import one_process, tiny_generative
from transmitter.models import load_encoder

SHIPPED = sorted((REPOSITORY / "configs" / "train").glob("generative_*.yaml"))
STEPS = (2, 8, 32)
TO_NOISE = "decoder.latents.to_noise"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    write_photos(root / "train", 12, (64, 64))
    write_photos(root / "val", 4, (64, 64))
    save_bundle(tiny_face_generator(), root / GENERATOR, "# tiny\n")
    return root


def weights(training: GenerativeTraining) -> dict[str, Tensor]:
    """Copies of the pair's and the averaged pair's."""
    found = {name: value.clone() for name, value in training.pair.state_dict().items()}
    if training.average is not None:
        averaged = training.average.module.state_dict()
        found |= {f"average.{name}": value.clone() for name, value in averaged.items()}
    return found


def changed(before: dict[str, Tensor], after: dict[str, Tensor], prefix: str) -> float:
    """The largest change of a weight below a name."""
    names = [name for name in after if name.startswith(prefix)]
    return max(float((after[name] - before[name]).abs().max()) for name in names)


def test_the_generator_is_bit_equal_after_both_stages(photos: Path, tmp_path: Path) -> None:
    training = GenerativeTraining(tiny_generative(photos), tmp_path, one_process())
    before = weights(training)
    fit(tiny_generative(photos), tmp_path / "run", one_process())
    trained = fit(tiny_generative(photos), tmp_path / "run", one_process())
    after = weights(trained)
    frozen = [name for name in after if FROZEN in name]
    assert {name.rpartition(f"{FROZEN}.")[2] for name in frozen} == set(
        tiny_face_generator().state_dict()
    )
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert changed(before, after, "encoder") > 0
    assert changed(before, after, "decoder.latents") > 0
    # It is shared with the average and left out of the checkpoint.
    assert trained.average is not None
    own = trained.pair.get_submodule(FROZEN)
    assert trained.average.module.get_submodule(FROZEN) is own
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert not [name for name in (*state["pair"], *state["average"]) if FROZEN in name]


def test_the_noise_projections_learn_in_stage_2_only(photos: Path, tmp_path: Path) -> None:
    config = tiny_generative(photos, warmup_images=0, schedule="plateau")
    seen: list[tuple[int, dict[str, Tensor], list[float]]] = []

    def watch(training: GenerativeTraining, values: dict[str, float]) -> None:
        if "mse" in values:
            rates = [group["lr"] for group in training.optimizers[0].param_groups]
            seen.append((training.stage, weights(training), rates))

    fit(config, tmp_path, one_process(), watch)
    assert [stage for stage, _, _ in seen] == [1, 1, 1, 2, 2]
    stages = [rates for _, _, rates in seen]
    assert stages[:3] == [[1e-3, 0.0]] * 3
    assert stages[3:] == [pytest.approx([1e-5, 1e-3])] * 2
    last_of_first, second = seen[2][1], seen[4][1]
    assert all(not value.any() for name, value in last_of_first.items() if TO_NOISE in name)
    assert changed(last_of_first, second, TO_NOISE) == pytest.approx(2e-3, rel=0.2)
    assert 0 < changed(last_of_first, second, "encoder") < 1e-4


def test_every_parameter_that_learns_gets_a_gradient(photos: Path, tmp_path: Path) -> None:
    training = GenerativeTraining(tiny_generative(photos), tmp_path, one_process())
    batches = training.batches()
    for stage in (1, 2):
        while training.stage == stage and not training.stage_over:
            training.train_step(next(batches))
        for name, parameter in training.pair.named_parameters():
            learns = not name.startswith(FROZEN) and (stage == 2 or not name.startswith(TO_NOISE))
            assert (parameter.grad is not None) is bool(learns), name
            if parameter.grad is not None and parameter.dim() == 4:
                # The fused Adam on a CPU reads both in memory order.
                order = torch.channels_last if min(parameter.shape[1:]) > 1 else None
                if order is not None:
                    assert parameter.is_contiguous(memory_format=order), name
                    assert parameter.grad.is_contiguous(memory_format=order), name
        training.go_on()


def test_a_run_resumed_in_stage_2_is_bit_equal_to_an_unbroken_one(
    photos: Path, tmp_path: Path
) -> None:
    config = tiny_generative(photos)
    unbroken = fit(config, tmp_path / "unbroken", one_process())

    class StoppedError(Exception):
        pass

    for stop_at in (3, 4):  # the end of stage 1, and within stage 2

        def stop(training: GenerativeTraining, _: dict[str, float], at: int = stop_at) -> None:
            if training.step == at:
                training.save()
                raise StoppedError

        with pytest.raises(StoppedError):
            fit(config, tmp_path / "broken", one_process(), stop)
    resumed = fit(config, tmp_path / "broken", one_process())
    assert resumed.step == unbroken.step == 5
    mine, theirs = weights(resumed), weights(unbroken)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_a_finished_stage_1_goes_on_with_stage_2(photos: Path, tmp_path: Path) -> None:
    whole = fit(tiny_generative(photos), tmp_path / "whole", one_process())
    first = fit(tiny_generative(photos, stage2_images=0), tmp_path / "parts", one_process())
    assert first.finished
    assert first.images == 6
    both = fit(tiny_generative(photos), tmp_path / "parts", one_process())
    mine, theirs = weights(both), weights(whole)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_a_stage_that_stalls_makes_room_for_the_next(photos: Path, tmp_path: Path) -> None:
    training = GenerativeTraining(
        tiny_generative(photos, schedule="plateau", patience=2), tmp_path, one_process()
    )
    for _ in range(3):
        training._note_plateau(1.0)
    assert training.stage_over
    assert not training.finished
    training.go_on()
    assert training.stage == 2
    assert (training.plateau_factor, training.stale) == (1.0, 0)
    assert not training.stage_over


@pytest.fixture(scope="module")
def coded(photos: Path) -> Path:
    folder = photos / "coded" / GENERATOR
    write_coded_generator(folder)
    return folder


@pytest.mark.parametrize("latent", ["w", "w+"])
def test_codes_are_learned_before_the_stages_of_the_paper(
    photos: Path, coded: Path, tmp_path: Path, latent: str
) -> None:
    config = tiny_generative(
        photos,
        generator=coded,
        train=photos / "val",
        batch_size=4,
        latent=latent,
        code_images=120,
        stage1_images=4,
        stage2_images=0,
        learning_rate=3e-3,
        snr_db=(20, 20),
    )
    seen: list[tuple[int, dict[str, float]]] = []
    training = fit(
        config, tmp_path, one_process(), lambda run, values: seen.append((run.stage, values))
    )
    codes = [values["codes"] for _, values in seen if "codes" in values]
    assert np.mean(codes[-5:]) < 0.9 * np.mean(codes[:5])
    steps = [(stage, set(values)) for stage, values in seen if "codes" in values or "mse" in values]
    assert steps == [*[(0, {"loss", "codes"})] * 30, (1, {"loss", "mse"})]
    own = training.pair.get_submodule(FROZEN).state_dict()
    assert all(torch.equal(own[k], v) for k, v in load_bundle(coded).state_dict().items())


def test_codes_are_those_the_generator_decodes(photos: Path, coded: Path) -> None:
    codes = Codes(coded, 64)
    deviation = codes.encoder.deviation
    mean = (codes.encoder.mean.reshape(1, 3, 64, 64) + 1) / 2
    # The mean image's code is the offset, which a mapping trained here answers on average.
    torch.testing.assert_close(codes(mean)[0, 0], latent_offset(deviation), atol=0.02, rtol=0.01)


def test_codes_need_a_generator_that_has_them(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInputError, match=r"code_images: .* has no codes\.safetensors: .*; must be 0"
    ):
        GenerativeTraining(tiny_generative(photos, code_images=4), tmp_path, one_process())


def test_one_batch_is_learned_by_heart(photos: Path, tmp_path: Path) -> None:
    config = tiny_generative(
        photos,
        train=photos / "val",
        batch_size=4,
        stage1_images=80,
        stage2_images=0,
        learning_rate=3e-3,
        snr_db=(20, 20),
    )
    losses: list[float] = []
    fit(config, tmp_path, one_process(), lambda _, values: losses.append(values["loss"]))
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


@pytest.mark.parametrize(
    "variant", [{}, {"latent": "w+", "latent_grid": 2, "latent_part": 5, "af": False}]
)
def test_a_run_becomes_a_bundle_that_computes_the_same(
    photos: Path, tmp_path: Path, variant: dict[str, object]
) -> None:
    training = fit(tiny_generative(photos, **variant), tmp_path / "run", one_process())
    root = tmp_path / "models"
    fields = {"name": "mine", "domain": "test pictures", "licence": "none"}
    config = export_run(tmp_path / "run", root, **fields)
    assert read_config(root / "mine") == config
    assert (root / GENERATOR / "generator.safetensors").exists()
    card = (root / "mine" / "card.md").read_text()
    assert "0 images of codes before the paper's stages, 6 in stage 1, 4 in stage 2" in card
    assert f"{GENERATOR}, frozen" in card
    loaded = load_decoder(root, config)
    assert training.average is not None
    own = training.average.module.get_submodule("decoder")
    symbols = torch.randn(2, 64, dtype=torch.complex64)
    with torch.inference_mode():
        found, expected = (g(symbols, torch.zeros(2), (64, 64)) for g in (loaded, own))
    assert (found - expected).abs().max() < 2e-2  # float16 weights
    ReceiverEngine(ReceiverSettings(bundles=root)).warm_up()


def test_a_run_for_w_plus_starts_from_a_bundle_for_w(photos: Path, tmp_path: Path) -> None:
    declared = write_tiny_generative(tmp_path)
    config = tiny_generative(
        photos,
        symbol_channels=32,
        channel_steps=STEPS,
        latent="w+",
        initial_bundle=tmp_path / GENERATIVE,
    )
    pair = GenerativeTraining(config, tmp_path / "run", one_process()).pair
    symbols, snr_db = torch.randn(2, 64, dtype=torch.complex64), torch.zeros(2)
    with torch.inference_mode():
        w, _ = load_decoder(tmp_path, declared).get_submodule("latents")(symbols, snr_db)
        w_plus, _ = pair.get_submodule("decoder.latents")(symbols, snr_db)
    assert w_plus.shape == (2, 10, w.shape[-1])
    torch.testing.assert_close(w_plus, w.unsqueeze(1).expand_as(w_plus))


def test_parts_of_the_latent_grow_in_a_run_from_a_bundle(photos: Path, tmp_path: Path) -> None:
    declared = write_tiny_generative(tmp_path)
    sizes: dict[str, object] = {"symbol_channels": 32, "channel_steps": STEPS}
    start = {**sizes, "initial_bundle": tmp_path / GENERATIVE}
    config = tiny_generative(photos, **start, latent="w+", latent_part=6)
    pair = GenerativeTraining(config, tmp_path / "run", one_process()).pair
    latents = pair.get_submodule("decoder.latents")
    symbols, snr_db = torch.randn(2, 64, dtype=torch.complex64), torch.zeros(2)
    with torch.inference_mode():
        before, _ = load_decoder(tmp_path, declared).get_submodule("latents")(symbols, snr_db)
        after, _ = latents(symbols, snr_db)
    torch.testing.assert_close(after, before.unsqueeze(1).expand_as(after))
    assert [head.out_features for head in latents.to_latent] == [6] * 8
    # The new rows do not stand still: they tell of the features from the start.
    assert all(head.weight[3:].std() > 0 for head in latents.to_latent)
    write_tiny_generative(tmp_path, "large", latent_part=6)
    with pytest.raises(InvalidInputError, match="latent_part 6; this run has 0"):
        GenerativeTraining(
            tiny_generative(photos, **sizes, initial_bundle=tmp_path / "large"),
            tmp_path / "no",
            one_process(),
        )


def test_export_does_not_mix_generators_up(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos / GENERATOR, tmp_path / GENERATOR)
    config = tiny_generative(photos, generator=tmp_path / GENERATOR, stage2_images=0)
    fit(config, tmp_path / "run", one_process())
    other = tiny_face_generator()
    with torch.no_grad():
        other.conv1.activate.bias.add_(1)
    fields = {"name": "mine", "domain": "", "licence": ""}
    save_bundle(other, tmp_path / "models" / GENERATOR, "")
    with pytest.raises(InvalidInputError, match="is another one than"):
        export_run(tmp_path / "run", tmp_path / "models", **fields)
    save_bundle(other, tmp_path / GENERATOR, "")
    with pytest.raises(InvalidInputError, match="no longer the one"):
        export_run(tmp_path / "run", tmp_path / "others", **fields)
    with pytest.raises(InvalidInputError, match=r"generator: is .*; the run in"):
        fit(config, tmp_path / "run", one_process())


def test_a_new_run_starts_from_a_bundle_of_either_scheme(photos: Path, tmp_path: Path) -> None:
    write_tiny(tmp_path, MULTI, steps=STEPS, channels=32)
    write_tiny_generative(tmp_path)
    sizes: dict[str, object] = {"symbol_channels": 32, "channel_steps": STEPS}
    for name in (MULTI, GENERATIVE):
        declared = read_config(tmp_path / name)
        config = tiny_generative(photos, **sizes, initial_bundle=tmp_path / name)
        pair = GenerativeTraining(config, tmp_path / f"run-{name}", one_process()).pair
        encoder = load_encoder(tmp_path, declared).state_dict()
        assert all(torch.equal(v, encoder[k]) for k, v in pair.encoder.state_dict().items())
        if name == GENERATIVE:
            latents = load_decoder(tmp_path, declared).get_submodule("latents").state_dict()
            own = pair.get_submodule("decoder.latents").state_dict()
            assert all(torch.equal(own[k], v) for k, v in latents.items())
    write_tiny_generative(tmp_path, "plus", latent="w+")
    with pytest.raises(InvalidInputError, match=r"latent w\+; this run has w"):
        GenerativeTraining(
            tiny_generative(photos, **sizes, initial_bundle=tmp_path / "plus"),
            tmp_path / "no",
            one_process(),
        )
    blind = tiny_generative(photos, **sizes, initial_bundle=tmp_path / GENERATIVE, af=False)
    without = GenerativeTraining(blind, tmp_path / "blind", one_process()).pair.state_dict()
    assert len(without) < len(pair.state_dict())
    assert all(torch.equal(v, pair.state_dict()[k]) for k, v in without.items())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"generator": Path("nowhere.pt")}, r"nowhere\.pt is not a generator's bundle"),
        ({"image_size": 128}, r"image_size: got 128; .* 64x64"),
    ],
)
def test_what_does_not_fit_the_generator_is_refused(
    photos: Path, tmp_path: Path, changes: dict[str, object], problem: str
) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        GenerativeTraining(tiny_generative(photos, **changes), tmp_path, one_process())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"noise": False}, "stage2_images: got some, but without noise maps"),
        ({"stage1_images": 0, "stage2_images": 0}, "got 0 for both"),
        ({"latent": "z"}, "'w' or 'w\\+'"),
        ({"latent_grid": 3}, "1, 2 or 4"),
    ],
)
def test_wrong_fields_are_told(photos: Path, changes: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        tiny_generative(photos, **changes)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_start_on_a_small_folder(
    photos: Path, coded: Path, tmp_path: Path, path: Path
) -> None:
    shipped = load_config(GenerativeJSCCConfig, path, {})
    small: dict[str, object] = {
        "train": photos / "train",
        "val": photos / "val",
        "generator": coded,
        "initial_bundle": None,
        "image_size": 64,
        "width": 8,
        "perceptual": None,
        "batch_size": 2,
        "code_images": min(2, shipped.code_images),
        "stage1_images": 2,
        "stage2_images": 2,
        "workers": 0,
    }
    assert fit(load_config(GenerativeJSCCConfig, path, small), tmp_path, one_process()).finished
