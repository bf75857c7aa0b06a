# SPDX-License-Identifier: Apache-2.0
"""Random draws of training, which depend only on the run's seed and a sample's number.

A sample's draws do not depend on the batch, the process or what was drawn before: a resumed run
repeats an unbroken one, and N processes repeat one with N times the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from channel.noise import unit_noise_rows

_SAMPLES_PER_RUN = 2**40
# Validation reuses one set of draws each time, apart from those of the samples.
VALIDATION = _SAMPLES_PER_RUN - 2**20


@dataclass(frozen=True)
class Draws:
    """Draws of one batch: flips bool [B], SNRs [B] in dB, CN(0, 1) noise complex64 [B, k]."""

    flips: Tensor
    snr_db: Tensor
    unit_noise: Tensor


def draw_batch(
    seed: int, samples: range, snr_db: tuple[float, float], k: int, device: torch.device
) -> Draws:
    """Return the draws of consecutively numbered samples.

    Args:
        seed: of the run, below 2^22.
        samples: their numbers, counted over the whole run.
        snr_db: range of the uniformly drawn SNR in dB.
        k: noise values for each.
        device: where they go.
    """
    low, high = snr_db
    uniforms = np.stack([np.random.default_rng([seed, n]).random(2) for n in samples])
    noise = unit_noise_rows([seed * _SAMPLES_PER_RUN + n for n in samples], k)
    return Draws(
        torch.from_numpy(uniforms[:, 0] < 0.5).to(device),
        torch.from_numpy((low + (high - low) * uniforms[:, 1]).astype(np.float32)).to(device),
        torch.from_numpy(noise).to(device),
    )


def draw_rate(
    seed: int, step: int, rates: tuple[int | None, ...], weights: tuple[float, ...] = ()
) -> int | None:
    """Draw the rate of a step, equal on all processes, because gradients belong to one rate.

    Args:
        seed: of the run.
        step: number of the step.
        rates: what to choose from.
        weights: how often each is drawn, relative; empty: equally often.
    """
    draws = np.random.default_rng([seed, step, 1])
    if not weights:
        return rates[int(draws.integers(len(rates)))]
    shares = np.array(weights) / sum(weights)
    return rates[int(draws.choice(len(rates), p=shares))]


def draw_window(seed: int, step: int, size: int, side: int) -> tuple[slice, slice]:
    """Draw a step's window of side x side pixels in images of size x size.

    Its corner is not tied to the networks' strides.

    Args:
        seed: of the run.
        step: number of the step.
        size: side of the images.
        side: of the window, at most `size`.
    """
    row, column = np.random.default_rng([seed, step, 2]).integers(size - side + 1, size=2)
    return slice(int(row), int(row) + side), slice(int(column), int(column) + side)
