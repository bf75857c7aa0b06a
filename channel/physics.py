# SPDX-License-Identifier: Apache-2.0
"""The channel equations, written once for NumPy and PyTorch.

Every function takes arrays of one array library (NumPy, or PyTorch on any device) and returns
arrays of the same library; PyTorch gradients flow through. Symbols are complex64 of shape
[B, k]: one row per image, independent of the other rows. Randomness is passed as an argument
(see `channel.noise`), so that a result is a function of its inputs.

Symbols and units: P is the average power per complex symbol (linear), sigma^2 the noise
variance per *complex* symbol, so sigma^2/2 per real dimension; SNR = 10 log10(P/sigma^2) in dB.
"""

from __future__ import annotations

from typing import Any

import array_api_compat.numpy
import numpy as np
from array_api_compat import array_namespace

from genjscc.errors import InvalidInputError

# An array of either library: the array API has no typing protocol that both satisfy.
Array = Any


def namespace_of(array: Array) -> Any:
    """Return the array API namespace of an array: NumPy's or PyTorch's."""
    # `array_namespace` gives the same result but takes ten times as long.
    return array_api_compat.numpy if type(array) is np.ndarray else array_namespace(array)


def noise_power(snr_db: Array, power: float = 1.0) -> Array:
    """Return sigma^2 of eq. (5): the noise variance per complex symbol at an SNR in dB."""
    return power / 10.0 ** (snr_db / 10.0)


def _widened(symbols: Array) -> Array:
    # A sum over 10^4 symbols in float32 would cost the sixth digit, and the square of a large but
    # valid float32 would overflow.
    xp = namespace_of(symbols)
    return xp.astype(symbols, xp.complex128)


def _energy(wide: Array) -> Array:
    xp = namespace_of(wide)
    return xp.real(xp.vecdot(wide, wide))


def energy(symbols: Array) -> Array:
    """Return ||z||^2 of each row, in float64. Shapes: [B, k] -> [B]."""
    return _energy(_widened(symbols))


def normalize_power(z_tilde: Array, power: float = 1.0) -> Array:
    """Normalise each image to power P (eq. 3): z = sqrt(kP) z~/||z~||. Shapes: [B, k] -> [B, k].

    The result has ||z||^2/k = P to 1e-6 at any scale of z~; the function is idempotent.

    Raises:
        InvalidInputError: a row is all zero, so no scale can give it power P.
    """
    xp = namespace_of(z_tilde)
    # Scaled in double precision: neither the factor nor the product overflows or underflows for
    # any float32 input, the smallest and the largest included.
    wide = _widened(z_tilde)
    row_energy = _energy(wide)
    if (row_energy == 0).any():
        raise InvalidInputError(
            "symbols", "the codeword is all zero; its power cannot be normalised"
        )
    k = z_tilde.shape[-1]
    return xp.astype(wide * xp.sqrt(k * power / row_energy)[..., None], z_tilde.dtype)


def awgn(z: Array, snr_db: Array, unit_noise: Array, power: float = 1.0) -> Array:
    """Add white Gaussian noise (eq. 4): z_hat = z + n, n ~ CN(0, sigma^2 I).

    Args:
        z: symbols [B, k] of average power `power`.
        snr_db: [B], one SNR per image, in dB.
        unit_noise: [B, k] draws of CN(0, 1): variance 1 per complex symbol, 1/2 per real
            dimension.
        power: P.
    """
    xp = namespace_of(z)
    sigma = xp.sqrt(noise_power(snr_db, power))[..., None]
    return z + xp.astype(sigma, xp.real(z).dtype) * unit_noise


def rician_gains(unit_noise: Array, k_factor: float) -> Array:
    """Return block gains h with E|h|^2 = 1 from CN(0, 1) draws g: line of sight plus scatter.

    h = sqrt(K/(K+1)) + sqrt(1/(K+1)) g. K = 0 is Rayleigh fading; K is linear, not in dB.
    The line-of-sight phase is 0: with channel state known at the receiver it has no effect.
    """
    return (k_factor / (k_factor + 1)) ** 0.5 + (1 / (k_factor + 1)) ** 0.5 * unit_noise


def spread_gains(gains: Array, k: int, block_length: int) -> Array:
    """Repeat each block's gain over its symbols: [B, ceil(k/block_length)] -> [B, k].

    A block may be longer than k; the intermediate array is at most twice as long as the result.
    """
    xp = namespace_of(gains)
    return xp.repeat(gains, min(block_length, k), axis=-1)[..., :k]


def zero_force(received: Array, spread: Array) -> Array:
    """Divide by the known gains [B, k]: undo the fading, amplifying noise if |h| is small.

    Raises:
        InvalidInputError: a gain is zero.
    """
    xp = namespace_of(received)
    if bool(xp.any(spread == 0)):
        raise InvalidInputError("gains", "a gain is 0; zero forcing cannot divide by it")
    return received / spread


def measured_power(symbols: Array) -> Array:
    """Return the average power ||z||^2/k of each row, linear. Shapes: [B, k] -> [B]."""
    return energy(symbols) / symbols.shape[-1]


def measured_snr_db(signal: Array, received: Array) -> Array:
    """Return 10 log10(||s||^2/||r - s||^2) of each row, in dB; inf without noise.

    `signal` s is the noiseless reception: z, or h z under fading.
    """
    xp = namespace_of(signal)
    noise_energy = energy(received - signal)
    noiseless = noise_energy == 0
    ratio = energy(signal) / xp.where(noiseless, 1.0, noise_energy)
    return xp.where(noiseless, float("inf"), 10.0 * xp.log10(ratio))
