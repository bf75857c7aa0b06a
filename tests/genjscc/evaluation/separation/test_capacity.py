# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genjscc import LocalLink
from genjscc.client.options import Awgn, Fading
from genjscc.evaluation.separation.capacity import _MARGINS_DB, capacity_attempts, channel_gains


@pytest.mark.parametrize(
    ("k", "snr_db", "expected"),
    [
        *((1024, -5, 50), (1024, 0, 128), (1024, 5, 263)),
        *((4096, -5, 202), (4096, 0, 512), (4096, 5, 1053)),
        *((16, -5, 0), (16, 0, 2)),
    ],
)
def test_bytes_at_capacity(k: int, snr_db: float, expected: int) -> None:
    (attempt,) = capacity_attempts([k, 2 * k], snr_db, Awgn(), seed=0)
    assert attempt.budgets[0] == expected
    assert attempt.budgets[1] in (2 * expected, 2 * expected + 1)
    assert attempt.arrived.all()


def test_under_fading_a_rate_gets_through_as_often_as_the_gain_carries_it() -> None:
    n = 4000
    attempts = capacity_attempts([16] * n, 5.0, Fading(), seed=0)
    budgets = [int(attempt.budgets[0]) for attempt in attempts]
    assert budgets == sorted(budgets)
    for attempt, margin_db in zip(attempts, _MARGINS_DB, strict=True):
        expected = np.exp(-(10 ** (margin_db / 10)))  # P(|h|^2 >= margin) of Rayleigh fading
        band = 5 * np.sqrt(expected * (1 - expected) / n)
        assert attempt.arrived.mean() == pytest.approx(expected, abs=band)


def test_gains_are_those_of_the_channel(bundles: Path) -> None:
    channel = Fading(block_length=5, equalize_at="receiver")
    with LocalLink(bundles=bundles) as link:
        picture = np.full((32, 32, 3), 90, np.uint8)
        picture[:16] = 200
        codeword = link.encode(picture, rate="1/192")
        arrived = link.transmit(codeword, snr_db=0, seed=7, channel=channel)
    assert arrived.gains is not None
    ours = channel_gains(channel, [7], codeword.k)[0]
    np.testing.assert_allclose(ours, np.repeat(arrived.gains, 5)[: codeword.k], rtol=1e-6)
