# SPDX-License-Identifier: Apache-2.0
"""The draws: CN(0, 1), the same for a seed everywhere, independent otherwise."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from channel.noise import Stream, unit_complex_gaussian, unit_noise_rows
from genjscc.limits import MAX_SEED

N = 1_000_000
BAND = 5 / math.sqrt(N)
seeds = st.integers(0, MAX_SEED)


@pytest.mark.parametrize("seed", [0, 1, 2**32, MAX_SEED])
def test_circular_symmetric_complex_gaussian(seed: int) -> None:
    n = unit_complex_gaussian(seed, N).astype(np.complex128)
    assert abs(n.mean()) < BAND
    # Var of a variance estimate: 2 sigma^4/n, with sigma^2 = 1/2.
    assert abs(n.real.var() - 0.5) < BAND * math.sqrt(0.5)
    assert abs(n.imag.var() - 0.5) < BAND * math.sqrt(0.5)
    assert abs(np.mean(n.real * n.imag)) < BAND / 2
    assert abs(np.mean(n * n)) < BAND * math.sqrt(2)
    # E|n|^4 = 2 for a complex Gaussian; Var |n|^4 = 4! - 4 = 20.
    assert abs(np.mean(np.abs(n) ** 4) - 2) < BAND * math.sqrt(20)
    # No memory from one draw to the next.
    assert abs(np.mean(n[1:] * n[:-1].conj())) < BAND


def test_tails_are_those_of_a_gaussian() -> None:
    power = np.abs(unit_complex_gaussian(17, N).astype(np.complex128)) ** 2
    for level in (0.1, 1.0, 3.0, 6.0, 9.0):
        expected = math.exp(-level)  # P(|n|^2 > level)
        band = 5 * math.sqrt(expected * (1 - expected) / N)
        assert abs(float((power > level).mean()) - expected) < band


@given(seeds, st.integers(1, 200), st.integers(0, 200))
def test_a_longer_draw_begins_with_the_shorter(seed: int, count: int, more: int) -> None:
    short, long = unit_complex_gaussian(seed, count), unit_complex_gaussian(seed, count + more)
    np.testing.assert_array_equal(long[:count], short)


@given(st.lists(seeds, min_size=1, max_size=4), st.integers(1, 30))
def test_rows_do_not_depend_on_their_batch(row_seeds: list[int], count: int) -> None:
    for seed, row in zip(row_seeds, unit_noise_rows(row_seeds, count), strict=True):
        np.testing.assert_array_equal(row, unit_complex_gaussian(seed, count))


@given(seeds)
def test_streams_and_seeds_differ(seed: int) -> None:
    noise = unit_complex_gaussian(seed, 32)
    assert not np.array_equal(noise, unit_complex_gaussian(seed, 32, Stream.FADING))
    assert not np.array_equal(noise, unit_complex_gaussian(seed ^ 1, 32))


def test_streams_and_seeds_are_uncorrelated() -> None:
    noise = unit_complex_gaussian(21, N)
    for other in (unit_complex_gaussian(21, N, Stream.FADING), unit_complex_gaussian(22, N)):
        assert abs(np.vdot(noise.astype(np.complex128), other)) / N < BAND


def test_same_noise_in_another_process() -> None:
    code = (
        "import hashlib, channel.noise as n;"
        "print(hashlib.sha256(n.unit_complex_gaussian(2**62 + 5, 1000).tobytes()).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = hashlib.sha256(unit_complex_gaussian(2**62 + 5, 1000).tobytes()).hexdigest()
    assert there.stdout.strip() == here


def test_the_noise_of_a_seed_never_changes() -> None:
    # Results of earlier versions must be repeatable: these digits are part of the contract.
    golden = [
        -0.5099201202392578 + 0.7763056755065918j,
        1.424500584602356 - 0.4021171033382416j,
        -0.21964919567108154 - 0.7392246127128601j,
        -1.016730546951294 + 1.0435059070587158j,
    ]
    np.testing.assert_allclose(unit_complex_gaussian(2026, 4), golden, rtol=1e-5)
