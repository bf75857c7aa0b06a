# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import Tensor

from genjscc.quality.frechet import frechet_distance, moments
from genjscc.training.stylegan2.frechet_matching import FrechetMatching, pooled

WIDTHS = (6, 4)


def rows(count: int, seed: int, spread: float = 1.0, shift: float = 0.0) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    mixing = torch.randn(10, 10, generator=torch.Generator().manual_seed(9))
    return spread * torch.randn(count, 10, generator=draws) @ mixing + shift


def matching(generated: Tensor) -> FrechetMatching:
    made = FrechetMatching(WIDTHS, 2, 0.9)
    made.set_real(rows(4000, 0))
    made.start(0, generated)
    made.start(1, rows(4000, 1))
    return made


def true_distance(real: Tensor, generated: Tensor) -> Tensor:
    parts = zip(real.split(WIDTHS, 1), generated.split(WIDTHS, 1), strict=True)
    shares = [
        frechet_distance(*moments(a), *moments(b)) / float(torch.cov(a.t()).trace())
        for a, b in parts
    ]
    return torch.tensor(sum(shares) / len(shares))


def test_the_distance_is_frechets_and_each_kind_has_its_own() -> None:
    generated = rows(4000, 2, spread=0.5, shift=1.0)
    made = matching(generated)
    far = made.distance(0)
    assert far == pytest.approx(true_distance(rows(4000, 0), generated).item(), rel=0.1)
    assert made.distance(1) < 0.05 * far
    made.note(0, rows(400, 3), 1)
    assert made.distance(0) == far  # not yet measured anew
    made.note(0, rows(400, 3), 20)
    assert made.distance(0) < far


def test_the_gradient_is_that_of_the_distance() -> None:
    """Moving all rows a little along the gradient changes the distance as the gradient says."""
    real, generated = rows(4000, 0), rows(4000, 2, spread=0.5, shift=1.0)
    made = matching(generated)
    moving = generated.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(made(0, moving).mean(), moving)
    step = 1e-2 / gradient.norm()
    change = true_distance(real, generated - step * gradient) - true_distance(real, generated)
    assert change.item() == pytest.approx((-step * gradient.square().sum()).item(), rel=0.1)


def test_descent_makes_the_distributions_equal() -> None:
    real, generated = rows(4000, 0), rows(4000, 2, spread=0.3, shift=2.0)
    made = matching(generated)
    moving = generated.clone().requires_grad_()
    before = true_distance(real, generated)
    for step in range(120):
        (gradient,) = torch.autograd.grad(made(0, moving).sum(), moving)
        with torch.no_grad():
            moving -= 2.0 * gradient
        made.note(0, moving.detach(), step)
    assert true_distance(real, moving.detach()) < 0.02 * before


def test_an_axis_without_spread_is_no_danger() -> None:
    flat = torch.zeros(200, 10)
    made = matching(flat)
    moving = (flat + 1e-3 * rows(200, 6)).requires_grad_()
    (gradient,) = torch.autograd.grad(made(0, moving).sum(), moving)
    assert gradient.isfinite().all()
    assert gradient.abs().max() < 10


def test_nothing_pulls_harder_than_by_the_spread_of_the_real_features() -> None:
    generated = rows(4000, 2, spread=100.0)
    made = matching(generated)
    moving = generated.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(made(0, moving).sum(), moving)
    for part, real in zip(gradient.split(WIDTHS, 1), rows(4000, 0).split(WIDTHS, 1), strict=True):
        total = torch.cov(real.t()).trace()
        limit = 2 / total.sqrt() / len(WIDTHS)
        assert part.norm(dim=1).max() < 1.02 * limit
        assert part.norm(dim=1).median() > 0.9 * limit


def test_pooled() -> None:
    maps = [torch.ones(2, 3, 4, 4), 2 * torch.ones(2, 1, 2, 2)]
    assert pooled(maps).tolist() == [[1.0, 1.0, 1.0, 2.0]] * 2
