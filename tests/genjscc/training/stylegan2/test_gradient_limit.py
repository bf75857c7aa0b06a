# SPDX-License-Identifier: Apache-2.0
"""Shortening of gradients that are far longer than usual."""

from __future__ import annotations

import pytest

from genjscc.training.stylegan2.gradient_limit import GradientLimit


def test_an_outlier_becomes_as_long_as_allowed_and_counts_no_more() -> None:
    limit = GradientLimit(3.0)
    assert [limit.factor("g", 2.0) for _ in range(5)] == [1.0] * 5
    assert limit.factor("g", 600.0) == pytest.approx(0.01)
    assert limit.state_dict()["g"] == pytest.approx(0.98 * 2 + 0.02 * 6)


def test_lengths_that_stay_become_usual() -> None:
    limit = GradientLimit(2.0)
    limit.factor("g", 1.0)
    factors = [limit.factor("g", 5.0) for _ in range(200)]
    assert factors[0] == pytest.approx(0.4)
    assert factors[-1] == 1.0
    assert sorted(factors) == factors


def test_networks_are_apart_and_runs_go_on() -> None:
    limit, other = GradientLimit(2.0), GradientLimit(2.0)
    limit.factor("g", 1.0)
    limit.factor("d", 100.0)
    other.load_state_dict(limit.state_dict())
    for each in (limit, other):
        assert each.factor("d", 150.0) == 1.0
        assert each.factor("g", 4.0) == pytest.approx(0.5)


def test_none_is_shortened_without_a_limit() -> None:
    limit = GradientLimit(0.0)
    assert [limit.factor("g", length) for length in (1.0, 1e9, 0.0, 1e9)] == [1.0] * 4
