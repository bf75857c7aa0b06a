# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from genjscc.bundles.store import read_generator_config
from genjscc.errors import BundleError, InvalidInputError
from genjscc.repository import REPOSITORY
from genjscc.training.config import load_config
from genjscc.training.initialiser import (
    LatentStartConfig,
    LatentStartTraining,
    build,
    export_start,
    fit,
    ridge_regression,
    sample_pixels,
)
from receiver.inverse.initialiser import START, load_start
from receiver.models import Generators
from receiver.stylegan2.checkpoints import save_bundle
from tests.helpers.photo_folders import write_photos
from tests.helpers.tiny_bundles import (
    GENERATOR,
    MULTI,
    SINGLE,
    tiny_face_generator,
    write_both,
    write_coded_generator,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs, two pairs and a generator."""
    root = tmp_path_factory.mktemp("start")
    write_photos(root / "train", 12, (64, 64))
    write_photos(root / "val", 4, (64, 64))
    write_both(root)
    save_bundle(tiny_face_generator(), root / GENERATOR, "# tiny\n")
    return root


def tiny(folder: Path, **changes: object) -> LatentStartConfig:
    fields: dict[str, object] = {
        "train": folder / "train",
        "val": folder / "val",
        "generator": folder / GENERATOR,
        "pairs": [folder / MULTI, folder / SINGLE],
        "width": 4,
        "linear_images": 0,
        "symbol_channels": 8,
        "perceptual": None,
        "batch_size": 4,
        "stage1_images": 8,
        "learning_rate": 3e-3,
        "schedule": "cosine",
        "ema_decay": 0.5,
        "validate_every": 100,
        "validate_images": 2,
    }
    return LatentStartConfig.model_validate({**fields, **changes})


def one_process() -> Fabric:
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    fabric.launch()
    return fabric


def test_the_shipped_configuration_is_valid() -> None:
    config = load_config(
        LatentStartConfig, REPOSITORY / "configs" / "train" / "start_faces64.yaml", {}
    )
    assert config.image_size == 64


def test_it_begins_at_the_mean_latent_whatever_it_sees(folder: Path) -> None:
    pair = build(tiny(folder))
    generator = Generators(folder).load(GENERATOR)
    latents = pair.start(torch.rand(2, 3, 64, 64))
    assert latents.shape == (2, generator.num_ws, generator.style_dim)
    torch.testing.assert_close(latents, generator.latent_avg.expand_as(latents))


def test_it_learns_and_nothing_else_does(folder: Path, tmp_path: Path) -> None:
    config = tiny(folder, stage1_images=120, sample_share=0.5)
    before = build(config)
    losses: list[float] = []
    training = fit(
        config,
        tmp_path,
        one_process(),
        lambda _, values: losses.append(values["mse"]) if "mse" in values else None,
    )
    assert training.finished
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    # The generator makes half of each batch, so its own images are within reach.
    for (name, old), new in zip(
        before.given.state_dict().items(), training.pair.given.state_dict().values(), strict=True
    ):
        assert old.equal(new), name
    # Checkpoints hold what was trained alone.
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert {name.split(".")[0] for name in state["pair"]} == {"start"}


def test_codes_are_learned_first(folder: Path, tmp_path: Path) -> None:
    coded = tmp_path / GENERATOR
    write_coded_generator(coded)
    changes = {"code_images": 120, "stage1_images": 4, "snr_db": (20, 20), "train": folder / "val"}
    config = tiny(folder, generator=coded, sample_share=0, **changes)
    seen: list[dict[str, float]] = []
    trained = fit(
        config, tmp_path / "run", one_process(), lambda _, values: seen.append(dict(values))
    )
    codes = [values["codes"] for values in seen if "codes" in values]
    assert len(codes) == 30
    assert np.mean(codes[-5:]) < 0.9 * np.mean(codes[:5])
    assert trained.finished
    assert trained.images == 124


def test_the_linear_part_begins_as_the_samples_say(folder: Path, tmp_path: Path) -> None:
    config = tiny(folder, linear_images=24, stage1_images=4)
    training = LatentStartTraining(config, tmp_path, one_process())
    linear = training.pair.get_submodule("start.linear")
    assert isinstance(linear.bias, torch.Tensor)
    assert linear.bias.abs().max() > 0
    layers = linear.bias.reshape(10, 16)
    assert layers[0].equal(layers[9])  # one w for all of the generator's layers


def test_regression_finds_what_there_is_and_nothing_else() -> None:
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(400, 20, generator=draws).double()
    true = torch.randn(3, 20, generator=draws).double()
    y = x @ true.T + 5 + 0.1 * torch.randn(400, 3, generator=draws)
    weight, bias = ridge_regression(x, y)
    torch.testing.assert_close(weight, true, atol=0.05, rtol=0)
    torch.testing.assert_close(bias, torch.full((3,), 5.0).double(), atol=0.05, rtol=0)
    # Fewer rows than columns, and nothing to find: a plain fit would be far off.
    x, noise = torch.randn(60, 100, generator=draws).double(), torch.randn(60, 3, generator=draws)
    weight, bias = ridge_regression(x, noise.double())
    fresh = torch.randn(500, 100, generator=draws).double()
    assert (fresh @ weight.T + bias).square().mean() < 0.3


def test_samples_belong_to_their_seed(folder: Path) -> None:
    generator = Generators(folder).load(GENERATOR)
    first = sample_pixels(generator, 2, 5)
    assert first.shape == (2, 3, 64, 64)
    assert first.dtype == torch.uint8
    assert first.equal(sample_pixels(generator, 2, 5))
    assert not first.equal(sample_pixels(generator, 2, 6))


def test_a_resumed_run_repeats_an_unbroken_one(folder: Path, tmp_path: Path) -> None:
    whole = fit(tiny(folder, stage1_images=16), tmp_path / "whole", one_process())
    fit(tiny(folder, stage1_images=8, schedule="plateau"), tmp_path / "broken", one_process())
    reference = fit(
        tiny(folder, stage1_images=16, schedule="plateau"), tmp_path / "unbroken", one_process()
    )
    resumed = fit(
        tiny(folder, stage1_images=16, schedule="plateau"), tmp_path / "broken", one_process()
    )
    assert whole.images == resumed.images == 16
    for a, b in zip(resumed.pair.parameters(), reference.pair.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_export_puts_it_beside_its_generator(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / GENERATOR, tmp_path / GENERATOR)
    config = tiny(folder, generator=tmp_path / GENERATOR)
    training = fit(config, tmp_path / "run", one_process())
    for _ in range(2):  # a second time replaces the first
        declared = export_start(tmp_path / "run")
    assert set(declared.files) == {"generator.safetensors", START}
    assert read_generator_config(tmp_path / GENERATOR) == declared
    card = (tmp_path / GENERATOR / "card.md").read_text()
    assert card.startswith("# tiny\n")
    assert card.count("## Start network") == 1
    start = load_start(tmp_path / GENERATOR, declared)
    assert start is not None
    image = torch.rand(1, 3, 64, 64)
    assert training.average is not None
    expected = training.average.module.get_submodule("start")(image)
    torch.testing.assert_close(start(image), expected, atol=1e-2, rtol=1e-2)
    assert Generators(tmp_path).load(GENERATOR).size == 64  # the bundle is still one

    weights = tmp_path / GENERATOR / START
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BundleError, match=r"start\.safetensors: SHA-256 is"):
        load_start(tmp_path / GENERATOR, declared)
    assert load_start(folder / GENERATOR, read_generator_config(folder / GENERATOR)) is None


def test_what_does_not_fit_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="image_size: got 128; the generator's is 64"):
        build(tiny(folder, image_size=128))
    with pytest.raises(InvalidInputError, match=rf"pairs: .*{SINGLE} .* sends \[8\] channels"):
        build(tiny(folder, symbol_channels=32, channel_steps=[2, 32]))
    with pytest.raises(InvalidInputError, match="holds no checkpoint of an initialiser"):
        export_start(tmp_path)
    fit(tiny(folder, stage1_images=4), tmp_path / "run", one_process())
    other = tiny_face_generator()
    with torch.no_grad():
        other.conv1.conv.weight.mul_(1.1)
    save_bundle(other, tmp_path / "other", "")
    with pytest.raises(InvalidInputError, match=r"generator: .* differs from"):
        export_start(tmp_path / "run", tmp_path / "other")
