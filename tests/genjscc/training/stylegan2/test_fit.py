# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

from genjscc.errors import BundleError, InvalidInputError
from genjscc.quality.fast_backward import PerceptualFeatures
from genjscc.quality.perceptual import perceptual
from genjscc.training.adversarial.discriminator import Augmentation, generator_loss, hinge
from genjscc.training.config import load_config
from genjscc.training.stylegan2.codes import (
    LatentCritic,
    fit_basis,
    latent_offset,
    shift_latents,
    sliced_wasserstein,
    start_mapping,
)
from genjscc.training.stylegan2.config import StyleGAN2Config
from genjscc.training.stylegan2.fit import fit
from genjscc.training.stylegan2.losses import Balance
from genjscc.training.stylegan2.training import StyleGAN2Training
from receiver.stylegan2.checkpoints import load_generator
from receiver.stylegan2.generator import Generator
from tests.helpers.photo_folders import write_photos

SHIPPED = Path(__file__).resolve().parents[4] / "configs" / "train"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder / "train", 24, (64, 64))
    write_photos(folder / "val", 20, (64, 64))
    return folder


@pytest.fixture(scope="module")
def config(photos: Path) -> StyleGAN2Config:
    """All terms on from the start."""
    return StyleGAN2Config(
        train=photos / "train",
        val=photos / "val",
        widths=(16, 16, 8, 8, 8),
        style_dim=16,
        mapping_layers=2,
        encoder_width=8,
        basis_images=24,
        perceptual_after=0,
        adversarial_after=0,
        adversarial_ramp=8,
        matching=0.5,
        matching_images=64,
        reconstructions=2,
        samples=2,
        latent_batch=16,
        code_queue=16,
        images=40,
        cooldown_images=8,
        warmup_images=0,
        evaluate_every=40,
        evaluate_images=16,
        reference_images=20,
        log_every=2,
    )


@pytest.fixture(scope="module")
def fabric() -> Fabric:
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    return fabric


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    training: StyleGAN2Training
    reports: list[dict[str, float]]


@pytest.fixture(scope="module")
def finished(
    config: StyleGAN2Config, fabric: Fabric, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """Train once; tests read it."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("finished")
    reports: list[dict[str, float]] = []
    training = fit(config, folder, fabric, lambda _, row: reports.append(row))
    return Run(folder, training, reports)


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def weights(training: StyleGAN2Training) -> list[Tensor]:
    networks = training.networks
    modules = (networks.generator, networks.average, networks.discriminator, networks.critic)
    return [p.detach() for m in (*modules, networks.encoder) for p in m.parameters()]


def test_a_run_logs_evaluates_and_exports(finished: Run) -> None:
    assert finished.training.images == 40
    rows = read(finished.folder / "train.csv")
    assert len(rows) == 5
    assert all(math.isfinite(float(rows[-1][name])) for name in rows[-1])
    (last,) = read(finished.folder / "validation.csv")
    assert last["images"] == "40"
    assert float(last["fd_efflite0"]) > 0
    assert 0 <= float(last["coverage"]) <= 1
    assert len(finished.reports) == 6
    assert (finished.folder / "sheet_00000040.png").exists()
    generator = load_generator(finished.folder / "generator")
    assert generator.size == 64


def test_the_best_checkpoint_stays(
    config: StyleGAN2Config, fabric: Fabric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distances = iter([3.0, 2.0, 4.0, 2.5])
    monkeypatch.setattr(
        "genjscc.training.stylegan2.evaluation.Evaluation.run",
        lambda _: {"fd_efflite0": next(distances)},
    )
    for images in (24, 40):  # a resumed run knows what was reached before
        changed = config.model_copy(update={"evaluate_every": 16, "images": images})
        training = fit(changed, tmp_path, fabric)
    assert training.best == 2.0
    best = torch.load(tmp_path / "best.pt", weights_only=True)
    assert (best["images"], best["best"]) == (24, 2.0)


def test_a_resumed_run_repeats_the_unbroken_one(
    config: StyleGAN2Config, fabric: Fabric, tmp_path: Path
) -> None:
    def run(folder: Path, stops: list[int]) -> StyleGAN2Training:
        for stop in stops:
            training = StyleGAN2Training(config, folder, fabric)
            for pixels in training.batches():
                if training.step == stop:
                    break
                training.train_step(pixels)
            training.save()
        return training

    # The queue of codes is full after four steps.
    unbroken = run(tmp_path / "a", [6])
    resumed = run(tmp_path / "b", [4, 6])
    assert resumed.step == 6
    for ours, theirs in zip(weights(unbroken), weights(resumed), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(unbroken.queue, resumed.queue)
    assert unbroken.balance == resumed.balance


def test_every_network_learns(config: StyleGAN2Config, fabric: Fabric, tmp_path: Path) -> None:
    training = StyleGAN2Training(config, tmp_path, fabric)
    batches = training.batches()
    before = {k: v.clone() for k, v in training.networks.generator.named_parameters()}
    critic = [p.clone() for p in training.networks.critic.parameters()]
    head = [p.clone() for p in training.networks.discriminator.parameters()]
    correction = [p.clone() for p in training.networks.encoder.parameters()]
    for _ in range(10):
        training.train_step(next(batches))
    for name, parameter in training.networks.generator.named_parameters():
        assert not torch.equal(parameter, before[name]), name
    for old, module in (
        (critic, training.networks.critic),
        (head, training.networks.discriminator),
        (correction, training.networks.encoder),
    ):
        assert all(not torch.equal(a, b) for a, b in zip(old, module.parameters(), strict=True))


def test_steps_go_against_the_gradient_in_any_memory_layout(
    config: StyleGAN2Config, fabric: Fabric, tmp_path: Path
) -> None:
    training = StyleGAN2Training(config, tmp_path, fabric)
    heads = list(training.networks.discriminator.parameters())
    assert any(not p.is_contiguous() for p in heads)  # channels_last
    before = [p.detach().clone() for p in heads]
    training.train_step(next(training.batches()))
    for old, parameter in zip(before, heads, strict=True):
        assert parameter.grad is not None
        moved = parameter.grad.abs() > 1e-6
        step, gradient = (parameter.detach() - old)[moved], parameter.grad[moved]
        assert torch.equal(step.sign(), -gradient.sign())


def test_noise_strengths_stay_within_their_limits(
    config: StyleGAN2Config, fabric: Fabric, tmp_path: Path
) -> None:
    limits = (0.018, 0.04)
    config = config.model_copy(
        update={"learning_rate": 0.1, "noise_limits": limits, "matching": 0.0}
    )
    training = StyleGAN2Training(config, tmp_path, fabric)
    for _, pixels in zip(range(4), training.batches(), strict=False):
        training.train_step(pixels)
    parameters = training.networks.generator.named_parameters()
    strengths = [p.item() for name, p in parameters if name.endswith("noise.weight")]
    assert min(strengths) == pytest.approx(0.018)
    assert max(strengths) == pytest.approx(0.04)


def test_the_export_takes_w(config: StyleGAN2Config, fabric: Fabric, tmp_path: Path) -> None:
    training = StyleGAN2Training(config, tmp_path, fabric)
    exported = training.exported()
    z = torch.randn(4, 16)
    centred = training.networks.average
    code = centred.mapping(z) - training.networks.offset
    torch.testing.assert_close(exported(z), centred.synthesis(code), atol=1e-4, rtol=1e-4)
    assert (exported.latent_avg - training.networks.offset).abs().max() < 0.5


def test_a_run_can_start_from_another(
    config: StyleGAN2Config, fabric: Fabric, tmp_path: Path
) -> None:
    first = StyleGAN2Training(config, tmp_path / "a", fabric)
    first.train_step(next(first.batches()))
    first.save()
    start = config.model_copy(update={"init": tmp_path / "a" / "checkpoint.pt", "seed": 2})
    second = StyleGAN2Training(start, tmp_path / "b", fabric)
    assert second.step == 0
    assert all(map(torch.equal, weights(first), weights(second)))
    with pytest.raises(InvalidInputError, match="init"):
        StyleGAN2Training(
            config.model_copy(update={"init": tmp_path / "none"}), tmp_path / "c", fabric
        )


def test_a_run_can_start_from_the_bundle_that_another_made(
    config: StyleGAN2Config, fabric: Fabric, finished: Run, tmp_path: Path
) -> None:
    first, bundle = finished.training, tmp_path / "generator"
    shutil.copytree(finished.folder / "generator", bundle)
    start = config.model_copy(update={"init": bundle, "seed": 2})
    second = StyleGAN2Training(start, tmp_path / "b", fabric)
    z = torch.randn(3, config.style_dim)
    noise = [torch.zeros(1, 1, r, r) for r in second.exported().noise_sizes]
    images = [
        (run := training.exported()).synthesis(run.broadcast(run.mapping(z)), noise)
        for training in (first, second)
    ]
    # The bundle's floats have 11 bits.
    torch.testing.assert_close(images[1], images[0], atol=0.02, rtol=0)
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    codes = [training.networks.encoder(x)[0] for training in (first, second)]
    torch.testing.assert_close(codes[1], codes[0], atol=0.02, rtol=1e-2)
    assert second.step == 0
    (bundle / "codes.safetensors").unlink()
    with pytest.raises(BundleError, match=r"codes\.safetensors"):
        StyleGAN2Training(start, tmp_path / "c", fabric)


def test_from_scratch_the_terms_join_one_by_one(
    config: StyleGAN2Config, fabric: Fabric, tmp_path: Path
) -> None:
    config = config.model_copy(update={"perceptual_after": 4, "adversarial_after": 8})
    training = StyleGAN2Training(config, tmp_path, fabric)
    batches = training.batches()
    seen = [set(training.train_step(next(batches))) for _ in range(3)]
    assert seen[0] == {"mse", "correction", "critic", "latent_distance"}
    assert seen[1] - seen[0] == {"st_lpips"}
    assert {"hinge_real", "hinge_fake", "adversarial_weight"} <= seen[2] - seen[1]
    assert "distance_samples" not in seen[1]
    assert training.matching is not None


def test_the_shipped_configuration_is_valid() -> None:
    config = load_config(StyleGAN2Config, SHIPPED / "stylegan2_faces64.yaml", {})
    assert config.image_size == 64
    with pytest.raises(InvalidInputError, match="noise_limits"):
        load_config(
            StyleGAN2Config, SHIPPED / "stylegan2_faces64.yaml", {"noise_limits": (0.1, 0.2)}
        )
    with pytest.raises(InvalidInputError, match="width"):
        load_config(StyleGAN2Config, SHIPPED / "stylegan2_faces64.yaml", {"width": 1})


def test_rates_rise_and_fall(config: StyleGAN2Config, fabric: Fabric, tmp_path: Path) -> None:
    config = config.model_copy(update={"warmup_images": 8})
    training = StyleGAN2Training(config, tmp_path, fabric)
    factors = []
    for step in range(11):
        training.step = step
        factors.append(training.rate_factor)
    assert factors[0] < factors[1] < factors[2] == 1.0
    assert factors[8] == 1.0
    assert factors[9] == pytest.approx(0.55)
    assert factors[10] == pytest.approx(0.1)


def test_codes_are_scaled_principal_components() -> None:
    torch.manual_seed(0)
    mixing = torch.randn(20, 3 * 8 * 8)
    images = (torch.randn(400, 20) @ mixing).reshape(400, 3, 8, 8)
    basis = fit_basis(torch.cat([images, images.flip(3)]), 8, seed=0)
    rows = torch.cat([images, images.flip(3)]).flatten(1)
    codes = (rows - basis.mean) @ basis.components
    assert codes.square().sum(1).mean().item() == pytest.approx(8, rel=0.1)
    torch.testing.assert_close(codes.std(0), basis.deviation, rtol=0.15, atol=0.0)
    correlations = torch.corrcoef(codes.t()) - torch.eye(8)
    assert correlations.abs().max() < 0.15
    with pytest.raises(InvalidInputError, match="basis_images"):
        fit_basis(images[:4], 8, seed=0)


def test_the_mapping_starts_linear_and_the_offset_is_folded() -> None:
    generator = Generator((8, 8, 8, 8), 32, 4)
    deviation = torch.linspace(2.0, 0.3, 32)
    start_mapping(generator, deviation)
    z = torch.randn(500, 32)
    code = generator.mapping(z) - latent_offset(deviation)
    linear = z / z.square().mean(1, keepdim=True).sqrt() * deviation
    assert ((code - linear).abs() > 1e-3).float().mean() < 0.003
    before = generator.synthesis(code[:4])
    shift_latents(generator, -latent_offset(deviation))
    after = generator.synthesis(code[:4] + latent_offset(deviation))
    torch.testing.assert_close(after, before, atol=1e-3, rtol=1e-3)


def test_the_critic_sees_a_lack_of_spread() -> None:
    critic = LatentCritic(16)
    codes = torch.randn(1, 16).repeat(16, 1)
    varied = codes + torch.randn(16, 16)
    assert critic(codes).std() < 1e-5
    assert critic(varied).std() > 1e-3
    directions = torch.randn(16, 8)
    assert sliced_wasserstein(varied, varied.flip(0), directions) == 0
    shifted = sliced_wasserstein(varied, varied + 1, directions)
    assert shifted > 0.1


@pytest.fixture(scope="module")
def features() -> PerceptualFeatures:
    return PerceptualFeatures()


def test_features_give_st_lpips_and_its_gradient(features: PerceptualFeatures) -> None:
    x = torch.rand(2, 3, 64, 64)
    y = torch.rand(2, 3, 64, 64).requires_grad_()
    expected = perceptual("st-lpips-alex")(x, y)
    ours = features.distance(features(2 * x - 1), features(2 * y - 1))
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-4)
    (wanted,) = torch.autograd.grad(expected.sum(), y)
    (got,) = torch.autograd.grad(ours.sum(), y)
    assert (got - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_hinge_and_generator_loss() -> None:
    logits = [torch.tensor([[2.0, 0.0], [0.5, -3.0]]), torch.tensor([[1.0], [-1.0]])]
    assert hinge(logits, real=True).item() == pytest.approx(
        ((0 + 1 + 0.5 + 4) / 4 + (0 + 2) / 2) / 2
    )
    assert hinge(logits, real=False).item() == pytest.approx(((3 + 1 + 1.5 + 0) / 4 + 1) / 2)
    assert generator_loss(logits).tolist() == pytest.approx([-1.0, 1.125])


def test_augmentation() -> None:
    x = torch.rand(32, 3, 16, 16) * 2 - 1
    none = Augmentation.draw(32, 16, 0.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(none.apply(x), x, atol=1e-5, rtol=1e-5)
    full = Augmentation.draw(32, 16, 1.0, torch.Generator().manual_seed(0))
    assert ((full.apply(x) - x).square().mean((1, 2, 3)) > 1e-3).all()
    assert torch.equal(full.first(5).apply(x[:5]), full.apply(x)[:5])
    some = Augmentation.draw(400, 16, 0.5, torch.Generator().manual_seed(0))
    assert (some.brightness != 0).float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_the_balance_weighs_gradients_alike() -> None:
    balance = Balance()
    assert balance.weights() == (0.0, 0.0)
    balance.note(2.0, 8.0, 4.0)
    assert balance.weights() == pytest.approx((0.25, 0.5))
    balance.note(4.0, 8.0, 4.0)
    assert 0.5 < balance.weights()[1] < 1.0
