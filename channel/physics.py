# SPDX-License-Identifier: Apache-2.0
"""The channel's equations, written once for NumPy and PyTorch.

Every function takes arrays of one array library (NumPy, or PyTorch on any device) and returns
arrays of the same one; PyTorch's gradients flow through. Symbols are complex64 of shape
[B, k]: one row per image, and nothing in a row depends on another row. Randomness comes in as
an argument (see `channel.noise`), so that a result is a function of its inputs.

Symbols and units: P is the average power per complex symbol (linear), sigma^2 the noise
variance per *complex* symbol, so sigma^2/2 per real dimension; SNR = 10 log10(P/sigma^2) in dB.
"""

from __future__ import annotations

from typing import Any

import array_api_compat.numpy
import numpy as np
from array_api_compat import array_namespace

from genjscc.errors import InvalidInputError

# An array of either library. The array API has no typing protocol that both satisfy.
Array = Any


def _namespace(array: Array) -> Any:
    # What `array_namespace` finds as well, in ten times the time.
    return array_api_compat.numpy if type(array) is np.ndarray else array_namespace(array)


def noise_power(snr_db: Array, power: float = 1.0) -> Array:
    """sigma^2 of eq. (5): the noise variance per complex symbol at an SNR in dB."""
    return power / 10.0 ** (snr_db / 10.0)


def _widened(symbols: Array) -> Array:
    # A sum over 10^4 symbols in float32 would cost the sixth digit, and the square of a large but
    # valid float32 would overflow.
    xp = _namespace(symbols)
    return xp.astype(symbols, xp.complex128)


def _energy(wide: Array) -> Array:
    xp = _namespace(wide)
    return xp.real(xp.vecdot(wide, wide))


def energy(symbols: Array) -> Array:
    """||z||^2 of each row, in float64. Shapes: [B, k] -> [B]."""
    return _energy(_widened(symbols))


def normalize_power(z_tilde: Array, power: float = 1.0) -> Array:
    """Z = sqrt(kP) z~/||z~|| for each image on its own (eq. 3). Shapes: [B, k] -> [B, k].

    Afterwards ||z||^2/k = P to 1e-6 whatever the scale of z~, and applying it again changes
    nothing.

    Raises:
        InvalidInputError: a row is all zero, so no scale can give it power P.
    """
    xp = _namespace(z_tilde)
    # Scaled in double precision: neither the factor nor the product leaves its range, whatever
    # float32 comes in, the smallest and the largest included.
    wide = _widened(z_tilde)
    row_energy = _energy(wide)
    if (row_energy == 0).any():
        raise InvalidInputError(
            "symbols", "the codeword is all zero; its power cannot be normalised"
        )
    k = z_tilde.shape[-1]
    return xp.astype(wide * xp.sqrt(k * power / row_energy)[..., None], z_tilde.dtype)


def awgn(z: Array, snr_db: Array, unit_noise: Array, power: float = 1.0) -> Array:
    """z_hat = z + n, n ~ CN(0, sigma^2 I) (eq. 4).

    Args:
        z: symbols [B, k] of average power `power`.
        snr_db: [B], one SNR per image, in dB.
        unit_noise: [B, k] draws of CN(0, 1): variance 1 per complex symbol, 1/2 per real
            dimension.
        power: P.
    """
    xp = _namespace(z)
    sigma = xp.sqrt(noise_power(snr_db, power))[..., None]
    return z + xp.astype(sigma, xp.real(z).dtype) * unit_noise


def rician_gains(unit_noise: Array, k_factor: float) -> Array:
    """Block gains h with E|h|^2 = 1 from CN(0, 1) draws: line of sight plus scatter.

    h = sqrt(K/(K+1)) + sqrt(1/(K+1)) g. K = 0 is Rayleigh fading; K is linear, not in dB.
    The line-of-sight phase is 0: with channel state known at the receiver it has no effect.
    """
    return (k_factor / (k_factor + 1)) ** 0.5 + (1 / (k_factor + 1)) ** 0.5 * unit_noise


def spread_gains(gains: Array, k: int, block_length: int) -> Array:
    """Repeats each block's gain over its symbols: [B, ceil(k/block_length)] -> [B, k].

    A block may be longer than k; what is made on the way is at most twice as long.
    """
    xp = _namespace(gains)
    return xp.repeat(gains, min(block_length, k), axis=-1)[..., :k]


def zero_force(received: Array, spread: Array) -> Array:
    """Divides by the known gains [B, k]: undoes the fading and amplifies noise where |h| is small.

    Raises:
        InvalidInputError: a gain is zero.
    """
    xp = _namespace(received)
    if bool(xp.any(spread == 0)):
        raise InvalidInputError("gains", "a gain is 0; zero forcing cannot divide by it")
    return received / spread


def measured_power(symbols: Array) -> Array:
    """||z||^2/k of each row, linear. Shapes: [B, k] -> [B]."""
    return energy(symbols) / symbols.shape[-1]


def measured_snr_db(signal: Array, received: Array) -> Array:
    """10 log10(||s||^2/||r - s||^2) of each row, in dB; inf where there is no noise.

    `signal` is what would arrive without noise: z, or h z under fading.
    """
    xp = _namespace(signal)
    noise_energy = energy(received - signal)
    silent = noise_energy == 0
    ratio = energy(signal) / xp.where(silent, 1.0, noise_energy)
    return xp.where(silent, float("inf"), 10.0 * xp.log10(ratio))
