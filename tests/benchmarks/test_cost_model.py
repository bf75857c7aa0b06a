# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.cost_model import Count, count, decoder_cost, encoder_cost, shapes_only
from genjscc.layers import AttentionBlock


def test_a_convolution_is_counted_as_by_hand() -> None:
    with shapes_only(), torch.no_grad():
        conv = nn.Conv2d(3, 8, 3, padding=1)
        image = torch.empty(1, 3, 16, 16)
        found = count([conv], lambda: ([image], conv(image)), bits=32)
    weights, read, written = 4 * (8 * 27 + 8), 4 * 3 * 16 * 16, 4 * 8 * 16 * 16
    assert found.flops == 2 * 16 * 16 * 8 * 27
    assert found.weight_bytes == weights
    assert found.least_bytes == found.most_bytes == weights + read + written


def test_an_attention_block_is_counted_as_by_hand_and_eager_moves_more() -> None:
    c, area = 8, 16 * 16
    with shapes_only(), torch.no_grad():
        block = AttentionBlock(c)
        x = torch.empty(1, c, 16, 16)
        found = count([block], lambda: ([x], block(x)))
    half = c // 2
    bottleneck = 2 * area * (c * half + 9 * half * half + half * c)
    assert found.flops == 6 * bottleneck + 2 * area * c * c
    assert found.most_bytes > 5 * found.least_bytes


def test_half_the_bits_move_half_the_bytes() -> None:
    with shapes_only(), torch.no_grad():
        conv = nn.Conv2d(3, 8, 3)
        image = torch.empty(1, 3, 16, 16)
        full, half = (count([conv], lambda: ([image], conv(image)), bits=b) for b in (32, 16))
    assert half.flops == full.flops
    assert half.most_bytes == full.most_bytes / 2


@pytest.mark.parametrize("cost", [encoder_cost, decoder_cost])
def test_four_times_the_pixels_cost_four_times_as_much(cost: object) -> None:
    small, large = cost(8, 64), cost(8, 128)  # type: ignore[operator]
    assert large.flops == pytest.approx(4 * small.flops, rel=0.01)
    assert large.weight_bytes == small.weight_bytes


def test_the_bound_is_whatever_takes_longer() -> None:
    busy = Count(flops=2e12, weight_bytes=0, least_bytes=1e9, most_bytes=1e10)
    assert busy.bound_ms(1.0, 1.0, fused=True) == pytest.approx(2000)
    assert busy.bound_ms(1.0, 1.0, fused=False) == pytest.approx(10_000)
    twice = busy.plus(busy, 3)
    assert (twice.flops, twice.most_bytes) == (8e12, 4e10)
