# SPDX-License-Identifier: Apache-2.0
"""Tapped delay lines of 3GPP TR 38.901: path delays and powers, fading gains, correlations.

A channel is a sum of paths: H(f, t) = sum_l a_l(t) exp(-j 2 pi f tau_l). The delays and mean
powers are those of tables 7.7.2-1 to 7.7.2-5, scaled by the delay spread and normalised to
sum_l E|a_l|^2 = 1. The gains follow the Jakes spectrum of a receiver that moves through waves
from all directions: E[a(t) a(t')*] = J0(2 pi f_D (t - t')). The first path of TDL-D and TDL-E
has a line of sight as well, with a Doppler shift of 0.7 f_D.

The functions work with NumPy and PyTorch, as those of `channel.physics` do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from channel.physics import Array, namespace_of

SPEED_OF_LIGHT = 299_792_458.0
# Sinusoids per path. Their amplitudes are Gaussian, so that a gain is Gaussian for any number;
# the number bounds the time in which a gain repeats itself.
SINUSOIDS = 20
_LOS_DOPPLER = 0.7


@dataclass(frozen=True)
class Profile:
    """Paths of a delay profile.

    Attributes:
        delays: path delays, in units of the delay spread.
        powers: mean powers of the scattered part of each path, linear.
        los_power: power of the line of sight, at delay 0; all powers sum to 1.
    """

    delays: tuple[float, ...]
    powers: tuple[float, ...]
    los_power: float = 0.0

    @property
    def total_powers(self) -> NDArray[np.float64]:
        """Mean powers of the paths with the line of sight, linear. Shape: [L]."""
        powers = np.array(self.powers)
        powers[0] += self.los_power
        return powers


def _profile(*paths: tuple[float, float], los_db: float | None = None) -> Profile:
    delays, powers_db = zip(*paths, strict=True)
    powers = [10.0 ** (power / 10.0) for power in powers_db]
    los = 0.0 if los_db is None else 10.0 ** (los_db / 10.0)
    total = sum(powers) + los
    return Profile(tuple(delays), tuple(power / total for power in powers), los / total)


# fmt: off
PROFILES: Mapping[str, Profile] = {
    "tdl-a": _profile(
        (0.0000, -13.4), (0.3819, 0.0), (0.4025, -2.2), (0.5868, -4.0), (0.4610, -6.0),
        (0.5375, -8.2), (0.6708, -9.9), (0.5750, -10.5), (0.7618, -7.5), (1.5375, -15.9),
        (1.8978, -6.6), (2.2242, -16.7), (2.1718, -12.4), (2.4942, -15.2), (2.5119, -10.8),
        (3.0582, -11.3), (4.0810, -12.7), (4.4579, -16.2), (4.5695, -18.3), (4.7966, -18.9),
        (5.0066, -16.6), (5.3043, -19.9), (9.6586, -29.7),
    ),
    "tdl-b": _profile(
        (0.0000, 0.0), (0.1072, -2.2), (0.2155, -4.0), (0.2095, -3.2), (0.2870, -9.8),
        (0.2986, -1.2), (0.3752, -3.4), (0.5055, -5.2), (0.3681, -7.6), (0.3697, -3.0),
        (0.5700, -8.9), (0.5283, -9.0), (1.1021, -4.8), (1.2756, -5.7), (1.5474, -7.5),
        (1.7842, -1.9), (2.0169, -7.6), (2.8294, -12.2), (3.0219, -9.8), (3.6187, -11.4),
        (4.1067, -14.9), (4.2790, -9.2), (4.7834, -11.3),
    ),
    "tdl-c": _profile(
        (0.0000, -4.4), (0.2099, -1.2), (0.2219, -3.5), (0.2329, -5.2), (0.2176, -2.5),
        (0.6366, 0.0), (0.6448, -2.2), (0.6560, -3.9), (0.6584, -7.4), (0.7935, -7.1),
        (0.8213, -10.7), (0.9336, -11.1), (1.2285, -5.1), (1.3083, -6.8), (2.1704, -8.7),
        (2.7105, -13.2), (4.2589, -13.9), (4.6003, -13.9), (5.4902, -15.8), (5.6077, -17.1),
        (6.3065, -16.0), (6.6374, -15.7), (7.0427, -21.6), (8.6523, -22.8),
    ),
    "tdl-d": _profile(
        (0.000, -13.5), (0.035, -18.8), (0.612, -21.0), (1.363, -22.8), (1.405, -17.9),
        (1.804, -20.1), (2.596, -21.9), (1.775, -22.9), (4.042, -27.8), (7.937, -23.6),
        (9.424, -24.8), (9.708, -30.0), (12.525, -27.7),
        los_db=-0.2,
    ),
    "tdl-e": _profile(
        (0.0000, -22.03), (0.5133, -15.8), (0.5440, -18.1), (0.5630, -19.8), (0.5440, -22.9),
        (0.7112, -22.4), (1.9092, -18.6), (1.9293, -20.8), (1.9589, -22.6), (2.6426, -22.3),
        (3.7136, -25.6), (5.4524, -20.2), (12.0034, -29.8), (20.6519, -29.2),
        los_db=-0.03,
    ),
}
"""Profiles by name; TDL-A to -C have no line of sight, TDL-D and -E have one"""
# fmt: on


def max_doppler_hz(carrier_hz: float, speed_mps: float) -> float:
    """Return the largest Doppler shift f_D = f_c v/c, in Hz."""
    return carrier_hz * speed_mps / SPEED_OF_LIGHT


def constant(value: Any, like: Array, dtype: str = "float64") -> Array:
    """Return a NumPy array as an array of another one's library and device."""
    xp = namespace_of(like)
    return xp.asarray(value, dtype=getattr(xp, dtype), device=array_api_compat.device(like))


def num_draws(profile: Profile) -> int:
    """Return the number of CN(0, 1) draws that `path_gains` needs per codeword."""
    return len(profile.delays) * (SINUSOIDS + 1) + 1


def path_gains(
    draws: Array, times_s: NDArray[np.float64], profile: Profile, doppler_hz: float
) -> Array:
    """Return the gains a_l(t) of the paths, complex128 [B, L, T].

    Without movement the gains are constant, and T is 1.

    Args:
        draws: CN(0, 1) draws [B, num_draws(profile)].
        times_s: T times in seconds.
        profile: the paths.
        doppler_hz: largest Doppler shift f_D.
    """
    xp = namespace_of(draws)
    rows, paths = draws.shape[0], len(profile.delays)
    wide = xp.astype(draws, xp.complex128)
    amplitudes = xp.reshape(wide[:, : paths * SINUSOIDS], (rows, paths, SINUSOIDS))
    # The phase of a CN(0, 1) draw is uniform.
    phases = _phase(wide[:, paths * SINUSOIDS :])
    moving = doppler_hz > 0
    if moving:
        step = 2.0 * math.pi / SINUSOIDS
        angles = phases[:, :paths, None] / SINUSOIDS + constant(step * np.arange(SINUSOIDS), phases)
        times = constant(2.0 * math.pi * doppler_hz * times_s, phases)
        shifts = xp.cos(angles)
        gains: Array = 0.0
        for number in range(SINUSOIDS):  # one at a time: the memory of one
            turned = unit(shifts[:, :, number, None] * times)
            gains = gains + amplitudes[:, :, number, None] * turned
    else:
        times = constant(np.zeros(1), phases)
        gains = xp.sum(amplitudes, axis=-1)[:, :, None]
    gains = gains * constant(np.sqrt(np.array(profile.powers) / SINUSOIDS)[:, None], phases)
    if profile.los_power:
        line = profile.los_power**0.5 * unit(phases[:, -1, None] + _LOS_DOPPLER * times)
        first = constant(np.eye(paths)[0][:, None], phases)
        gains = gains + first * line[:, None, :]
    return gains


def frequency_response(
    gains: Array, delays_s: NDArray[np.float64], frequencies_hz: NDArray[np.float64]
) -> Array:
    """Return H(f, t) = sum_l a_l(t) exp(-j 2 pi f tau_l). Shapes: [B, L, T] -> [B, T, F]."""
    xp = namespace_of(gains)
    steering = constant(steering_matrix(delays_s, frequencies_hz), gains, "complex128")
    # One product per row: a row's digits do not depend on the batch.
    return xp.matmul(xp.permute_dims(gains, (0, 2, 1)), steering)


def steering_matrix(
    delays_s: NDArray[np.float64], frequencies_hz: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """Return exp(-j 2 pi f tau) of each path and frequency. Shape: [L, F]."""
    matrix: NDArray[np.complex128] = np.exp(-2j * math.pi * np.outer(delays_s, frequencies_hz))
    return matrix


def time_correlation(
    lags_s: NDArray[np.float64], profile: Profile | None, doppler_hz: float
) -> NDArray[np.complex128]:
    """Return E[H(t + lag) H(t)*] at one frequency. The shape is that of the lags.

    Args:
        lags_s: time differences in seconds.
        profile: the paths; None: a channel that does not change.
        doppler_hz: largest Doppler shift f_D.
    """
    if profile is None or doppler_hz == 0:
        return np.ones_like(lags_s, dtype=np.complex128)
    phase = 2.0 * math.pi * doppler_hz * lags_s
    scatter = bessel_j0(phase) * (1.0 - profile.los_power)
    correlation: NDArray[np.complex128] = scatter + profile.los_power * np.exp(
        1j * _LOS_DOPPLER * phase
    )
    return correlation


def bessel_j0(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Bessel function J0 by the mean over the directions of arrival.

    J0(x) is the mean of cos(x cos(angle)) over the angles of a circle. The trapezoidal rule of a
    periodic function converges exponentially once it has more points than |x|.
    """
    points = int(np.max(np.abs(x), initial=0.0)) + 32
    total = np.zeros_like(x)
    for angle in math.pi * (np.arange(points) + 0.5) / points:
        total += np.cos(x * math.cos(angle))
    return total / points


def _phase(wide: Array) -> Array:
    xp = namespace_of(wide)
    return xp.atan2(xp.imag(wide), xp.real(wide))


def unit(angles: Array) -> Array:
    """Return exp(j angle)."""
    xp = namespace_of(angles)
    return xp.exp(xp.astype(angles, xp.complex128) * 1j)
