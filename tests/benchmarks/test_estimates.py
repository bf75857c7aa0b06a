# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.common.estimates import (
    Point,
    growth,
    power_law,
    ratio_spread,
    throughput_at,
    throughput_ratio,
)


@given(
    exponent=st.floats(-3, 3),
    factor=st.floats(0.01, 100),
    x=st.sets(st.integers(1, 999), min_size=2),
)
def test_a_power_law_is_found_again(exponent: float, factor: float, x: set[int]) -> None:
    found = power_law([*x], [factor * one**exponent for one in x])
    assert found.exponent == pytest.approx(exponent, abs=1e-6)
    assert found.factor == pytest.approx(factor, rel=1e-6)
    assert found.r2 == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("x", "y"), [([1], [1]), ([2, 2], [1, 2]), ([1, 2], [0, 1]), ([1, 2], [1])]
)
def test_what_has_no_exponent_is_refused(x: list[float], y: list[float]) -> None:
    with pytest.raises(ValueError, match="two different, all positive"):
        power_law(x, y)


def test_growth_tells_the_exponents_of_the_rounds_and_of_the_end() -> None:
    # A constant part hides the growth at first.
    found = growth([1, 10, 100], [[10 + x for x in (1, 10, 100)], [2 * x for x in (1, 10, 100)]])
    assert found["y"] == [6.5, 20, 155]
    assert found["exponent"]["max"] == pytest.approx(1)
    assert found["exponent"]["min"] < found["last_exponent"]["min"] < 1
    assert found["exponent"]["rounds"] == 2


def test_ratios_are_made_within_a_round() -> None:
    # Twice as slow in the second round, both of them: the ratio does not move.
    found = ratio_spread([10, 20, 9], [5, 10, 3])
    assert found == {"median": 2, "min": 2, "max": 3, "rounds": 3}


POINTS = [Point(100, 10), Point(300, 20), Point(250, 30), Point(400, 60)]


@pytest.mark.parametrize(
    ("p99_ms", "expected"),
    [(9.9, None), (10, 100), (15, 200), (20, 300), (40, 350), (60, 400), (1000, 400)],
)
def test_throughput_within_a_p99(p99_ms: float, expected: float | None) -> None:
    # (250, 30) is worse than (300, 20) in both and counts for nothing.
    assert throughput_at(POINTS, p99_ms) == expected
    assert throughput_at(POINTS[::-1], p99_ms) == expected


def test_throughput_at_the_p99_of_another() -> None:
    assert throughput_ratio(POINTS, [Point(50, 5), Point(100, 20), Point(90, 90)]) == 3
    assert throughput_ratio(POINTS, [Point(100, 5)]) == 0
