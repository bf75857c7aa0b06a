# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import nn

from genjscc.layers import ResidualBlockUpsample
from genjscc.layers.linear_path import linear_analysis, linear_synthesis
from genjscc.training.muon import Muon, matrix_groups, orthogonalised


@pytest.mark.parametrize("shape", [(1, 16, 144), (4, 32, 16), (1, 48, 48)])
def test_singular_values_come_close_to_one(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalised(matrices).float())
    assert values.max() < 1.3
    # The smallest one of a random square matrix is close to zero, and stays so.
    assert values.median() > 0.6


def test_the_rows_of_each_position_of_a_subpixel_are_a_matrix_of_their_own() -> None:
    block = ResidualBlockUpsample(16, 16)
    groups = {
        group["interleaved"]: group["params"] for group in matrix_groups(block, block.parameters())
    }
    assert {count: len(group) for count, group in groups.items()} == {1: 1, 4: 2}
    weight = groups[4][0]
    before = weight.detach().clone()
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    Muon([{"params": [weight], "interleaved": 4}], lr=0.1).step()
    steps = ((before - weight) / 0.1).reshape(16, 4, -1)
    for position in range(4):
        values = torch.linalg.svdvals(steps[:, position])
        assert values.min() > 0.6
        assert values.max() < 1.3


def test_linear_paths_small_layers_and_what_is_not_trained_are_left_to_adam() -> None:
    paths = nn.ModuleList([linear_analysis(32, 1, af=True), linear_synthesis(32, 1, af=True)])
    assert matrix_groups(paths, paths.parameters()) == []
    small, large = nn.Conv2d(3, 32, 3), nn.Conv2d(16, 16, 3)
    module = nn.Sequential(small, large)
    assert [group["params"] for group in matrix_groups(module, module.parameters())] == [
        [large.weight]
    ]
    assert matrix_groups(module, small.parameters()) == []


def test_it_learns_a_badly_scaled_problem_that_plain_descent_does_not() -> None:
    torch.manual_seed(0)
    scales = torch.logspace(0, -3, 16)
    inputs, target = torch.randn(256, 16) * scales, torch.randn(16, 16)

    def error_after(optimizer_of: type[Muon] | type[torch.optim.SGD], lr: float) -> float:
        weight = nn.Parameter(torch.zeros(16, 16, 1, 1))
        optimizer = optimizer_of([{"params": [weight]}], lr=lr, momentum=0.9)
        for _ in range(200):
            optimizer.zero_grad()
            (inputs @ (weight[..., 0, 0] - target).T).square().mean().backward()
            optimizer.step()
        return float((weight.detach()[..., 0, 0] - target).square().mean())

    assert error_after(Muon, 0.05) < 0.5 * error_after(torch.optim.SGD, 0.5)
