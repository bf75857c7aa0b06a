# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from genjscc.quality.statistics import mean_of, paired_difference


def test_the_interval_holds_the_truth_in_95_percent_of_experiments() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        found = mean_of(rng.normal(3.0, 2.0, 200).tolist())
        held += abs(found.mean - 3.0) <= found.ci95
    # 5 sigma of a binomial share; 0.948 is what 200 samples of a t-distribution give.
    assert abs(held / 2000 - 0.948) < 5 * (0.95 * 0.05 / 2000) ** 0.5


def test_pairs_cancel_what_they_share() -> None:
    rng = np.random.default_rng(1)
    shared = rng.normal(0, 10, 500)
    first, second = (shared + 1).tolist(), shared.tolist()
    difference = paired_difference(first, second)
    assert difference.mean == pytest.approx(1)
    assert difference.ci95 < 1e-9 < mean_of(first).ci95


@pytest.mark.parametrize("values", [[], [1.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_no_interval_from_too_little_or_broken_values(values: list[float]) -> None:
    with pytest.raises(ValueError, match="values"):
        mean_of(values)


def test_pairs_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        paired_difference([1.0, 2.0], [1.0])
