# SPDX-License-Identifier: Apache-2.0
"""Counter-based complex Gaussian draws: the same seed gives the same noise everywhere.

The draws of an image depend on its seed alone: not on its batch, the process, the machine or the
array library. NumPy guarantees the raw Philox stream but not the stream of its
`standard_normal`, so the Gaussians are computed here by the Box-Muller transform: modulus and
phase of CN(0, 1) are a Rayleigh variable and a uniform angle, one pair of uniforms each.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Stream(IntEnum):
    """Purpose of the draws. Streams of one seed are independent of each other."""

    NOISE = 0
    FADING = 1
    INVERSION_MAPS = 2
    INVERSION_CHANNEL = 3
    PLUGIN = 4
    PHASE_NOISE = 5


def unit_complex_gaussian(
    seed: int, count: int, stream: Stream = Stream.NOISE, number: int = 0
) -> NDArray[np.complex64]:
    """Draw `count` samples of CN(0, 1): variance 1 per complex number, 1/2 per real dimension.

    Args:
        seed: 0..2^63-1.
        count: number of samples; a longer draw begins with the shorter one.
        stream: one of the seed's independent streams.
        number: 0..2^32-1; each number selects a different draw of the stream.
    """
    return _gaussian(_raw(seed, count, stream, number))


def unit_noise_rows(
    seeds: Sequence[int], count: int, stream: Stream = Stream.NOISE
) -> NDArray[np.complex64]:
    """Draw one row of CN(0, 1) samples per seed. Shape: [len(seeds), count]."""
    raw = np.concatenate([_raw(seed, count, stream, 0) for seed in seeds])
    return _gaussian(raw.reshape(len(seeds), count, 2))


def seeded_generator(seed: int) -> np.random.Generator:
    """Return a NumPy generator for a plug-in's draws, on a separate stream.

    The same seed gives the same draws with the same version of NumPy.
    """
    key = np.array([seed, int(Stream.PLUGIN)], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


class _Philox(threading.local):
    """One generator per thread: a new one for each seed would cost more than its draws."""

    def __init__(self) -> None:
        self.generator = np.random.Philox(key=0)
        self.initial_state: Any = self.generator.state


_philox = _Philox()


def _raw(seed: int, count: int, stream: Stream, number: int) -> NDArray[np.uint64]:
    """Return two 64-bit integers for each draw. Shape: [count, 2]."""
    philox = _philox.generator
    state = _philox.initial_state
    state["state"]["key"][:] = seed, int(stream) + (number << 32)
    philox.state = state
    raw: NDArray[np.uint64] = philox.random_raw(2 * count).reshape(count, 2)
    return raw


def _gaussian(raw: NDArray[np.uint64]) -> NDArray[np.complex64]:
    """Map each pair of integers to a sample of CN(0, 1). Shape: [..., 2] -> [...]."""
    # 53 bits each; the first is kept away from 0, where the logarithm is infinite.
    uniforms = (raw >> np.uint64(11)).astype(np.float64)
    modulus = np.sqrt(-np.log((uniforms[..., 0] + 0.5) * 2.0**-53))
    angle = uniforms[..., 1] * (2.0 * math.pi * 2.0**-53)
    # A third faster than exp(1j * angle), with the same digits.
    draws = np.empty(modulus.shape, np.complex64)
    draws.real, draws.imag = modulus * np.cos(angle), modulus * np.sin(angle)
    return draws
