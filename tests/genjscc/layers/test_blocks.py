# SPDX-License-Identifier: Apache-2.0
"""The blocks of Fig. 4 against their formulas."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from genjscc.layers import (
    GDN,
    AFModule,
    AttentionBlock,
    ResidualBlock,
    ResidualBlockUpsample,
    ResidualBlockWithStride,
)
from genjscc.layers.bottleneck import bottleneck_from_symbols, num_symbols, symbols_from_bottleneck
from genjscc.layers.condition import condition
from tests.helpers.tiny_bundles import fill_by_rule


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_is_its_formula(inverse: bool) -> None:
    gdn = GDN(4, inverse=inverse)
    with torch.no_grad():
        gdn.beta.copy_(torch.rand(4) + 0.5)
        gdn.gamma.copy_(torch.rand(4, 4))
    x = torch.randn(2, 4, 3, 5)
    beta, gamma = gdn.beta**2 - 2**-36, gdn.gamma**2 - 2**-36
    scale = torch.sqrt(beta[:, None, None] + torch.einsum("ij,bjhw->bihw", gamma, x**2))
    expected = x * scale if inverse else x / scale
    torch.testing.assert_close(gdn(x), expected)


def test_gdn_starts_as_published() -> None:
    x = torch.randn(1, 3, 2, 2)
    torch.testing.assert_close(GDN(3)(x), x / torch.sqrt(1 + 0.1 * x**2))


def test_gdn_stays_positive_and_can_recover() -> None:
    gdn = GDN(2)
    with torch.no_grad():
        gdn.beta.fill_(-1.0)
        gdn.gamma.fill_(-1.0)
    y = gdn(torch.ones(1, 2, 1, 1))
    assert bool(torch.isfinite(y).all())
    y.sum().backward()  # shrinking y would raise beta: that gradient must pass the bound
    assert gdn.beta.grad is not None
    gdn.zero_grad()
    (-gdn(torch.ones(1, 2, 1, 1))).sum().backward()
    assert gdn.beta.grad is not None
    torch.testing.assert_close(gdn.beta.grad, torch.zeros(2))


@pytest.mark.parametrize(
    ("block", "channels", "size"),
    [
        (ResidualBlockWithStride(3, 8), 8, (8, 6)),
        (ResidualBlockUpsample(3, 8), 8, (32, 24)),
        (ResidualBlock(3, 8), 8, (16, 12)),
        (ResidualBlock(3, 3), 3, (16, 12)),
    ],
)
def test_residual_shapes(block: nn.Module, channels: int, size: tuple[int, int]) -> None:
    assert block(torch.randn(2, 3, 16, 12)).shape == (2, channels, *size)


def test_stride_skip_equals_a_strided_convolution() -> None:
    block = ResidualBlockWithStride(3, 8)
    with torch.no_grad():
        for parameter in block.conv2.parameters():
            parameter.zero_()  # GDN(0) = 0: the skip is left alone
    x = torch.randn(1, 3, 8, 8)
    strided = nn.functional.conv2d(x, block.skip.weight, block.skip.bias, stride=2)
    torch.testing.assert_close(block(x), strided)


def test_upsample_puts_sub_pixels_in_place() -> None:
    block = ResidualBlockUpsample(1, 1)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
        block.skip[0].bias.copy_(torch.arange(4.0))
    expected = torch.tensor([[0.0, 1.0], [2.0, 3.0]]).repeat(2, 2)
    torch.testing.assert_close(block(torch.zeros(1, 1, 2, 2))[0, 0], expected)


@pytest.mark.parametrize("block", [ResidualBlockWithStride(8, 8), ResidualBlockUpsample(8, 8)])
def test_channels_last_trains_without_a_crash(block: nn.Module) -> None:
    x = torch.randn(2, 8, 16, 16).to(memory_format=torch.channels_last).requires_grad_()
    network = block.to(memory_format=torch.channels_last)
    network(x).square().mean().backward()
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())


def test_attention_is_its_formula() -> None:
    block = AttentionBlock(4)
    x = torch.randn(1, 4, 6, 6)
    torch.testing.assert_close(block(x), x + block.trunk(x) * torch.sigmoid(block.mask(x)))
    # Each bottleneck: 1x1 to half, 3x3, 1x1 back; three in each branch, one 1x1 more in the mask.
    bottleneck = (4 * 2 + 2) + (2 * 2 * 9 + 2) + (2 * 4 + 4)
    assert sum(p.numel() for p in block.parameters()) == 6 * bottleneck + 4 * 4 + 4
    with pytest.raises(ValueError, match="at least 2"):
        AttentionBlock(1)


def test_af_is_its_formula() -> None:
    af = AFModule(3)
    x, snr_db = torch.randn(2, 3, 4, 4), torch.tensor([[-5.0], [20.0]])
    hidden = af.fc1(torch.cat([x.mean((2, 3)), snr_db], dim=1))
    factors = torch.sigmoid(af.fc2(nn.functional.leaky_relu(hidden)))
    torch.testing.assert_close(af(x, snr_db), x * factors[:, :, None, None])
    same = fill_by_rule(AFModule(3), 1)
    one = torch.ones(1, 3, 2, 2)
    low, high = same(one, torch.tensor([[-5.0]])), same(one, torch.tensor([[5.0]]))
    assert float((low - high).detach().abs().max()) > 1e-3


@settings(max_examples=25)
@given(st.sampled_from([2, 8, 32]), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2))
def test_symbols_and_bottleneck_undo_each_other(c: int, rows: int, columns: int, b: int) -> None:
    size = (16 * rows, 16 * columns)
    bottleneck = torch.randn(b, c, rows, columns)
    symbols = symbols_from_bottleneck(bottleneck)
    assert symbols.shape == (b, num_symbols(c, size))
    back, sent = bottleneck_from_symbols(symbols, 32, size)
    assert sent == c
    torch.testing.assert_close(back[:, :c], bottleneck)
    assert not back[:, c:].any()


def test_adjacent_reals_are_i_and_q() -> None:
    bottleneck = torch.arange(8.0).reshape(1, 2, 2, 2)  # channel, row, column
    expected = torch.tensor([[0 + 1j, 2 + 3j, 4 + 5j, 6 + 7j]])
    torch.testing.assert_close(symbols_from_bottleneck(bottleneck), expected)


@pytest.mark.parametrize("k", [3, 34])
def test_symbols_that_do_not_fit_are_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"k = {k}"):
        bottleneck_from_symbols(torch.ones(1, k, dtype=torch.complex64), 8, (32, 32))


def test_condition_tells_the_rate_only_where_it_varies() -> None:
    snr_db = torch.tensor([-5.0, 7.0])
    assert condition(snr_db, 8, ()).tolist() == [[-5.0], [7.0]]
    assert condition(snr_db, 8, (2, 8, 32)).tolist() == [[-5.0, -2.0], [7.0, -2.0]]
    with pytest.raises(ValueError, match="got 4"):
        condition(snr_db, 4, (2, 8, 32))
