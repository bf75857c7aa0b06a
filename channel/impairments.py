# SPDX-License-Identifier: Apache-2.0
"""Imperfect radio hardware: mixer, power amplifier and oscillators, on time signals.

The functions take time signals of shape [..., samples] of NumPy or PyTorch, and gradients flow
through them.
"""

from __future__ import annotations

import math

import numpy as np

from channel.physics import Array, namespace_of
from channel.tdl import constant, unit


def unbalance(signal: Array, gain_db: float, phase_deg: float) -> Array:
    """Apply the IQ imbalance of a mixer: s -> K1 s + K2 s*.

    K1 = (1 + g exp(-j phi))/2 and K2 = (1 - g exp(j phi))/2, with the amplitude ratio g and the
    phase error phi. The image of each subcarrier appears at the opposite frequency.
    """
    xp = namespace_of(signal)
    ratio = 10.0 ** (gain_db / 20.0) * np.exp(1j * math.radians(phase_deg))
    direct, image = (1.0 + ratio.conjugate()) / 2.0, (1.0 - ratio) / 2.0
    return complex(direct) * signal + complex(image) * xp.conj(signal)


def clip(signal: Array, level: float) -> Array:
    """Limit the modulus to a level and keep the phase: a power amplifier in saturation."""
    xp = namespace_of(signal)
    modulus = xp.abs(signal)
    limited = modulus > level
    return xp.where(limited, signal * (level / xp.where(limited, modulus, 1.0)), signal)


def papr_db(signal: Array) -> Array:
    """Return the peak-to-average power ratio of each row in dB. Shapes: [B, N, T] -> [B]."""
    xp = namespace_of(signal)
    power = xp.abs(signal) ** 2
    peak = xp.max(xp.max(power, axis=2), axis=1)
    return 10.0 * xp.log10(peak / xp.mean(xp.mean(power, axis=2), axis=1))


def oscillator(
    draws: Array | None, starts: Array, samples: int, *, step: float, variance: float
) -> Array:
    """Return the rotation exp(j phi) of each sample by the receiver's oscillator.

    The phase is a constant drift, from a carrier frequency offset, plus a Wiener process.

    Args:
        draws: CN(0, 1) draws [B, N, T] for T samples from the start of each OFDM symbol to that
            of the next; None without phase noise.
        starts: number of the first sample of each OFDM symbol behind its prefix [N].
        samples: samples of an OFDM symbol without prefix.
        step: drift per sample in radians.
        variance: variance of the phase's increments per sample in radians^2.

    Returns:
        complex128 [B, N, samples], or [1, N, samples] without phase noise.
    """
    xp = namespace_of(starts)
    angles = step * (starts[:, None] + constant(np.arange(samples), starts))[None]
    if draws is not None:
        rows, symbols, total = draws.shape
        steps = (2.0 * variance) ** 0.5 * xp.astype(xp.real(draws), xp.float64)
        walk = xp.cumulative_sum(xp.reshape(steps, (rows, symbols * total)), axis=1)
        angles = angles + xp.reshape(walk, (rows, symbols, total))[:, :, total - samples :]
    return unit(angles)
