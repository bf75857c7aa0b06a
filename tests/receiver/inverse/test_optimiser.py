# SPDX-License-Identifier: Apache-2.0
"""The optimisation: its parts against their equations, and many at once against each alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from genjscc.errors import InvalidInputError
from receiver.inverse.config import InverseConfig, inverse_config
from receiver.inverse.objective import Terms, geodesic, objective, observe
from receiver.inverse.optimiser import Inversion, Problem, reproduce, run_blocks, step, synthesise
from receiver.inverse.schedule import Plateau, rate_factor
from receiver.inverse.variables import draw_maps
from tests.helpers.tiny_problems import PooledDistance, run_to_end, tiny_problem

SHORT = {"steps": (4, 3, 2, 2), "perceptual": "st-lpips-alex"}


@pytest.fixture(scope="module")
def problem() -> Problem:
    return tiny_problem()


def target(seed: int) -> Tensor:
    """A received image as a blurred picture is."""
    coarse = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=64, mode="bilinear")[0]


def begin(problem: Problem, number: int = 0, **fields: Any) -> Inversion:
    config = InverseConfig(**{**SHORT, **fields})
    return Inversion(problem, target(number), config, snr_db=float(number), seed=number)


def test_the_defaults_are_the_papers() -> None:
    config = InverseConfig()
    assert (config.steps, config.noise_limits, config.cuts) == (
        (50, 50, 25, 25),
        (5, 7, 9, 11),
        (1, 2, 3),
    )
    weights = (config.mse_weight, config.perceptual_weight, config.regularization_weight)
    assert weights == (1, 1, 1)
    assert (config.image_perceptual_weight, config.geodesic_weight) == (0.1, 0.01)
    assert (config.learning_rate, config.channel_noise, config.start) == (0.1, "fresh", "mean")


@pytest.mark.parametrize(
    ("step", "factor"),
    [(0, 0.0), (1, 0.4), (3, 1.0), (10, 1.0), (12, 1.0), (31, 0.5105), (49, 0.00175)],
)
def test_the_schedule_of_ilo(step: int, factor: float) -> None:
    # 50 steps: up over the first 2.5, constant to 12.5, then half a cosine to 0.
    assert rate_factor(step, 50, 0.05, 0.75) == pytest.approx(factor, abs=2e-3)


@given(
    steps=st.integers(1, 200), up=st.floats(0, 1), down=st.floats(0, 1), position=st.floats(0, 1)
)
def test_rates_stay_between_zero_and_the_peak(
    steps: int, up: float, down: float, position: float
) -> None:
    step = min(steps - 1, int(position * steps))
    assert 0 <= rate_factor(step, steps, up, down) <= 1


def test_a_plateau_is_seen_through_noise() -> None:
    falling, flat = Plateau(5, 0.01), Plateau(5, 0.01)
    noise = torch.rand(40, generator=torch.Generator().manual_seed(0)).tolist()
    assert not any(falling.reached(2.0 - 0.04 * i + 0.05 * n) for i, n in enumerate(noise))
    assert any(flat.reached(1.0 + 0.05 * n) for n in noise)
    assert not any(Plateau(0, 0.01).reached(1.0) for _ in range(100))


def test_geodesic_distances_are_angles() -> None:
    axes = torch.eye(4)[None] * torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None]
    right = (torch.pi / 2) ** 2
    equal_lengths = torch.eye(4)[None] * 5
    # 12 of the 16 pairs are at right angles, the others are a layer with itself.
    assert geodesic(equal_lengths, torch.tensor([0])).item() == pytest.approx(right * 12 / 16)
    # Layers that do not take part do not count: 2 of 4 pairs are left.
    assert geodesic(equal_lengths, torch.tensor([2])).item() == pytest.approx(right * 2 / 4)
    opposite = torch.stack([axes[0, 0], -axes[0, 0]])[None]
    assert geodesic(opposite, torch.tensor([0])).item() == pytest.approx(torch.pi**2 / 2, rel=1e-3)
    same = torch.ones(1, 3, 4, requires_grad=True)
    value = geodesic(same, torch.tensor([0]))
    (gradient,) = torch.autograd.grad(value.sum(), same)
    assert value.item() < 1e-6
    assert gradient.isfinite().all()


def test_the_objective_is_equation_12(problem: Problem) -> None:
    distance = PooledDistance()
    images, reproduced = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    seen = [observe(torch.rand(3, 8, 8), distance) for _ in range(2)]
    geodesics = torch.tensor([0.3, 0.4])
    weights = [Terms(1.0, 1.0, 0.1, 0.01), Terms(2.0, 0.0, 0.5, 0.0)]
    totals, terms = objective(distance, images, reproduced, seen, geodesics, weights)

    def far(a: Tensor, b: Tensor) -> Tensor:
        return distance.distance(distance.features(a[None]), distance.features(b[None]))[0]

    for i, (l1, l2, l34, l35) in enumerate(weights):
        x_hat = seen[i].image
        squared = (reproduced[i] - x_hat).square().mean()
        expected = (
            l1 * squared
            + l2 * far(reproduced[i], x_hat)
            + l34 * far(images[i], x_hat)
            + l35 * geodesics[i]
        )
        torch.testing.assert_close(totals[i], expected)
        torch.testing.assert_close(terms[i, 0], squared)
    assert terms[1, 1] == 0  # not asked for, not computed
    totals, _ = objective(None, images, reproduced, seen, geodesics, [Terms(1.0, 0, 0, 0)] * 2)
    torch.testing.assert_close(totals[0], (reproduced[0] - seen[0].image).square().mean())


def test_images_of_all_stages_pass_the_generator_together(problem: Problem) -> None:
    inversions = [begin(problem, i) for i in range(5)]
    for one, steps in zip(inversions, (0, 4, 5, 8, 10), strict=True):
        for _ in range(steps):
            step(problem, [one])
    assert [one.stage for one in inversions] == [1, 2, 2, 3, 4]
    together = synthesise(problem, [one.variables for one in inversions])
    for i, one in enumerate(inversions):
        alone = synthesise(problem, [one.variables])
        torch.testing.assert_close(together[i], alone[0], atol=1e-5, rtol=1e-5)
    first = inversions[0].variables
    whole = problem.generator.synthesis(
        first.latents[None] * problem.spread, [one[None] for one in first.maps]
    )
    torch.testing.assert_close(together[0], (whole[0] + 1) / 2)


def test_many_at_once_are_as_each_alone(problem: Problem) -> None:
    """Different targets, SNRs, seeds, steps, weights and ends; some join later."""
    fields: list[dict[str, Any]] = [
        {},
        {"steps": (2,)},
        {"steps": (0, 5), "channel_noise": "fixed", "cuts": (2, 3, 4)},
        {"steps": (6, 4), "patience": 3, "tolerance": 0.3, "perceptual_every": 2},
        {"channel_noise": "none", "noise_start": "zero", "noise_projection": "ball"},
    ]
    alone: list[list[Any]] = []
    for i, own in enumerate(fields):
        one, losses = begin(problem, i, **own), []
        while not one.finished:
            step(problem, [one])
            losses.append(one.losses)
        alone.append(losses)
    together = [begin(problem, i, **own) for i, own in enumerate(fields)]
    found: list[list[Any]] = [[] for _ in fields]
    turn = 0
    while not all(one.finished for one in together):
        present = [(i, one) for i, one in enumerate(together) if not one.finished and turn >= i]
        step(problem, [one for _, one in present])
        for i, one in present:
            found[i].append(one.losses)
        turn += 1
    assert [len(losses) for losses in found] == [len(losses) for losses in alone]
    assert len(alone[3]) < 10  # it stopped early
    for i, (expected, got) in enumerate(zip(alone, found, strict=True)):
        for before, after in zip(expected, got, strict=True):
            assert (after.total, *after.terms) == pytest.approx(
                (before.total, *before.terms), abs=1e-3
            ), fields[i]


def test_a_seed_repeats_and_another_one_does_not(problem: Problem) -> None:
    def final(seed: int) -> Tensor:
        one = Inversion(problem, target(0), InverseConfig(steps=(3,)), snr_db=0.0, seed=seed)
        run_to_end(problem, [one])
        return one.image

    torch.testing.assert_close(final(1), final(1), atol=0, rtol=0)
    assert (final(1) - final(2)).abs().max() > 1e-3


def test_noise_of_the_channel(problem: Problem) -> None:
    def two(kind: str) -> tuple[Tensor, Tensor]:
        one = begin(problem, 7, channel_noise=kind)
        first = one.unit_noise(64)
        step(problem, [one])
        return first, one.unit_noise(64)

    fresh, fixed, none = two("fresh"), two("fixed"), two("none")
    assert (fresh[0] - fresh[1]).abs().min() > 0
    assert fixed[0].equal(fixed[1])
    assert fixed[0].equal(fresh[0])
    assert not none[0].any()


def test_a_of_an_image_depends_on_its_own_snr_and_noise(problem: Problem) -> None:
    images = torch.rand(1, 3, 64, 64).expand(2, -1, -1, -1)
    pair = [begin(problem, 0), begin(problem, 3)]
    together = reproduce(problem, images, pair)
    for i, one in enumerate(pair):
        alone = reproduce(problem, images[:1], [one])[0]
        torch.testing.assert_close(together[i], alone, atol=1e-5, rtol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_drawn_maps_are_white_and_belong_to_the_seed() -> None:
    maps = draw_maps(3, (4, 64), torch.device("cpu"))
    assert [one.shape for one in maps] == [(1, 4, 4), (1, 64, 64)]
    assert maps[1].mean().abs() < 4 / 64
    assert maps[1].var().item() == pytest.approx(1, abs=4 * (2 / 4096) ** 0.5)
    assert maps[0].equal(draw_maps(3, (4, 64), torch.device("cpu"))[0])


def test_latents_and_maps_stay_on_their_spheres(problem: Problem) -> None:
    def lengths(one: Inversion) -> list[float]:
        maps = [m.norm().item() for m in one.variables.maps]
        return [*one.variables.latents.norm(dim=1).tolist(), *maps]

    one, free = begin(problem), begin(problem, latent_projection="none", noise_projection="none")
    before = lengths(one)
    start = one.variables.latents.clone()
    for _ in range(5):
        step(problem, [one])
        step(problem, [free])
    assert lengths(one) == pytest.approx(before, rel=1e-4)
    assert (one.variables.latents - start).abs().max() > 0.01
    assert lengths(free) != pytest.approx(before, rel=1e-4)


def test_noise_maps_move_up_to_the_stages_layer(problem: Problem) -> None:
    def moved(**fields: Any) -> list[int]:
        one = begin(problem, steps=(3,), noise_limits=(3, 5, 7, 9), **fields)
        before = [m.clone() for m in one.variables.maps]
        run_to_end(problem, [one])
        pairs = zip(before, one.variables.maps, strict=True)
        return [i for i, (a, b) in enumerate(pairs) if (a - b).abs().max() > 1e-5]

    assert moved() == [0, 1, 2]
    assert moved(noise_rate=0.0) == []


def test_a_stage_goes_on_from_the_image_of_the_one_before(problem: Problem) -> None:
    one = begin(problem, steps=(3, 2))
    for _ in range(3):
        step(problem, [one])
    assert one.stage == 2
    entering = one.variables.entering
    assert entering is not None
    now = synthesise(problem, [one.variables])
    ws = one.variables.latents[None] * problem.spread
    maps = [m[None] for m in one.variables.maps]
    whole = (problem.generator.synthesis(ws, maps) + 1) / 2
    torch.testing.assert_close(now, whole, atol=1e-5, rtol=1e-5)
    # Now what enters the second stage is itself a variable; earlier latents no longer are.
    features, early = entering.features.clone(), one.variables.latents[0].clone()
    step(problem, [one])
    step(problem, [one])
    assert (entering.features - features).abs().max() > 1e-3
    torch.testing.assert_close(one.variables.latents[0], early)
    assert one.finished


def test_stages_without_steps_are_passed_over(problem: Problem) -> None:
    one = begin(problem, steps=(2, 0, 2))
    stages = []
    while not one.finished:
        stages.append(one.stage)
        step(problem, [one])
    assert stages == [1, 1, 3, 3]
    assert one.steps_done == 4
    later = begin(problem, steps=(0, 2))
    assert later.stage == 2


def test_it_comes_closer_to_what_was_received(problem: Problem) -> None:
    plain = Problem(problem.generator, None, problem.distance)
    with torch.no_grad():
        z = torch.randn(1, 16, generator=torch.Generator().manual_seed(2))
        picture = ((problem.generator(z) + 1) / 2)[0]
    one = Inversion(plain, picture, InverseConfig(steps=(30, 10)), seed=1)
    step(plain, [one])
    assert one.losses is not None
    first = one.losses
    run_to_end(plain, [one])
    assert one.losses.terms.mse < 0.9 * first.terms.mse
    assert one.losses.total < 0.7 * first.total
    assert 0 <= one.image.min() <= one.image.max() <= 1


def test_a_given_start_is_where_it_begins(problem: Problem) -> None:
    start = problem.generator.mapping(torch.randn(1, 16))[0]
    one = Inversion(problem, target(0), InverseConfig(steps=(1,)), start=start)
    state = run_blocks(problem, [one.variables], problem.generator.num_blocks)
    expected = problem.generator.synthesis(start[None], [m[None] for m in one.variables.maps])
    torch.testing.assert_close(state.rgb, expected, atol=1e-5, rtol=1e-5)


def test_reduced_precision_is_close(problem: Problem) -> None:
    coarse = Problem(
        problem.generator, problem.forward, problem.distance, problem.channels, torch.bfloat16
    )
    exact, rough = begin(problem), begin(coarse)
    step(problem, [exact])
    step(coarse, [rough])
    assert exact.losses is not None
    assert rough.losses is not None
    assert rough.losses.total == pytest.approx(exact.losses.total, rel=0.05)
    run_to_end(coarse, [rough])
    assert rough.image.dtype == torch.float32
    assert rough.image.isfinite().all()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"steps": (0, 0)}, "steps"),
        ({"steps": (1,) * 5}, "steps"),
        ({"steps": (-1,)}, "steps"),
        ({"cuts": (2, 2, 3)}, "cuts"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"channel_noise": "loud"}, "channel_noise"),
        ({"perceptual": "vgg"}, "perceptual"),
        ({"speed": 3}, "speed"),
        ({"betas": (0.9, 1.0)}, "betas"),
    ],
)
def test_wrong_values_are_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"^inversion.*{named}"):
        inverse_config("paper", fields)


def test_presets() -> None:
    assert inverse_config("paper", {}) == InverseConfig()
    fast = inverse_config("fast", {"geodesic_weight": 0.5})
    assert fast.geodesic_weight == 0.5
    assert fast.num_steps < 150
    with pytest.raises(InvalidInputError, match=r"inversion\.preset: got 'slow'; there are paper"):
        inverse_config("slow", {})


def test_what_does_not_fit_the_generator_is_named(problem: Problem) -> None:
    with pytest.raises(InvalidInputError, match="stage 4 would begin at block 9"):
        begin(problem, cuts=(1, 2, 9))
    begin(problem, cuts=(1, 2, 9), steps=(1, 1, 1))  # that stage has no steps
    with pytest.raises(InvalidInputError, match="noise_projection: got 'sphere'"):
        begin(problem, noise_start="zero")
