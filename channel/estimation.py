# SPDX-License-Identifier: Apache-2.0
"""Channel and noise estimation from the pilots of an OFDM grid.

`least_squares` divides the received pilots by the sent ones and interpolates. `lmmse` uses the
statistics of the channel: first across frequency, by the amplitudes of the paths at their known
delays, then across time, by a Wiener filter with the Doppler correlation. Both return the
estimated gains with the variance of their errors. `noise_variance` is a maximum-likelihood
estimate from the same pilots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from channel.ofdm import Layout, Radio
from channel.physics import Array, namespace_of
from channel.tdl import constant, steering_matrix, time_correlation

# OFDM symbols with pilots that are filtered together: long enough to average noise out, short
# enough for codewords of any length.
WINDOW = 32
_LEAST_EIGENVALUE = 1e-12
_SEARCH_DB = np.arange(-70.0, 40.5, 0.5)


@dataclass(frozen=True, eq=False)
class Estimate:
    """Estimated gains.

    Attributes:
        gains: H at every element, complex [B, N, S].
        error: variance of the true gains around their expectation, [B or 1, N, S] or a shape
            that broadcasts to it.
        share: the expectation of the true gains is `share` times the estimates; a shape that
            broadcasts. Only estimates without knowledge of the channel's power have less than 1.
    """

    gains: Array
    error: Array
    share: Array


def at_pilots(received: Array, layout: Layout) -> Array:
    """Divide the received pilots by the sent ones: H + n at the pilots. Shape: [B, Np, P]."""
    return received / constant(layout.pilots, received, "complex128")


def least_squares(raw: Array, layout: Layout, options: Radio, noise: Array) -> Estimate:
    """Interpolate raw estimates linearly, across frequency and then across time.

    Args:
        raw: estimates at the pilots [B, Np, P].
        layout: places of the pilots.
        options: the transmission.
        noise: noise variance [B].
    """
    xp = namespace_of(raw)
    across = interpolation(layout.pilot_carriers, options.used)
    gains = xp.matmul(raw, constant(across.T, raw, "complex128"))
    variance = constant((across**2).sum(1), noise)[None, None, :] * noise[:, None, None]
    low, high, share = _neighbours(layout)
    weight = constant(share[:, None], raw, "complex128")
    before = xp.take(gains, constant(low, raw, "int64"), axis=1)
    after = xp.take(gains, constant(high, raw, "int64"), axis=1)
    # At a single pilot time both neighbours are the same, and their noise is, too.
    kept = np.where(low == high, 1.0, share**2 + (1.0 - share) ** 2)
    error = variance * constant(kept[None, :, None], noise)
    share = 1.0 / (1.0 + error)
    return Estimate(before + weight * (after - before), share * error, share)


def lmmse(raw: Array, layout: Layout, options: Radio, noise: Array) -> Estimate:
    """Estimate the gains with the least mean squared error, window by window.

    The gains at the pilots of a window have the covariance R_t x R_f, with R_t = V diag(lambda) V^H
    over time and R_f = F_p^T D F_p* over frequency: path powers D, steering matrix F_p at the
    pilots. In the basis V the times separate, and the estimate at time t and frequency f is
    sum_j (r_t V)_j f^T (D^-1 + lambda_j F_p* F_p^T/sigma^2)^-1 F_p* y_j/sigma^2.
    With a line of sight in motion, this is an approximation: it and the scatter change differently.

    Args:
        raw: estimates at the pilots [B, Np, P].
        layout: places of the pilots.
        options: the transmission.
        noise: noise variance [B].
    """
    xp = namespace_of(raw)
    filters: dict[int, _WindowFilter] = {}
    parts = []
    for times, pilots in _windows(layout):
        length = pilots.stop - pilots.start
        if length not in filters:
            filters[length] = _window_filter(layout.pilot_times[pilots], layout, options, noise)
        parts.append(_filtered(raw[:, pilots, :], times, pilots, layout, options, filters[length]))
    gains = xp.concat([gains for gains, _ in parts], axis=1)
    error = xp.concat([error for _, error in parts], axis=1)
    return Estimate(gains, error, constant(np.ones((1, 1, 1)), error))


@dataclass(frozen=True, eq=False)
class _WindowFilter:
    """Filters of all windows with the same number of pilot times.

    Attributes:
        basis: eigenvectors of the correlation between the pilot times [T, T].
        inverses: (D^-1 + lambda_j G/sigma^2)^-1 for each eigenvector, [B, L, L] each.
        explained: variance of the gains that the pilots explain, [B, S] for each.
        precision: 1/sigma^2 [B, 1, 1].
    """

    basis: NDArray[np.complex128]
    inverses: list[Array]
    explained: list[Array]
    precision: Array


def _window_filter(
    pilot_times: NDArray[np.intp], layout: Layout, options: Radio, noise: Array
) -> _WindowFilter:
    xp = namespace_of(noise)
    values, vectors = _time_basis(options, layout.times_s[pilot_times])
    # Without movement, a single vector is left.
    kept = values > _LEAST_EIGENVALUE * values.max()
    steering, at_comb = _steering(options, layout)
    powers = np.diag(_powers(options))
    whole = constant(steering, noise, "complex128")
    gram = constant(at_comb.conj() @ at_comb.T, noise, "complex128")
    prior = constant(np.linalg.inv(powers), noise, "complex128")
    precision = 1.0 / xp.astype(noise, xp.complex128)[:, None, None]
    weighted = xp.matmul(gram, constant(powers, noise, "complex128")) * precision
    inverses, explained = [], []
    for value in values[kept]:
        inverse = xp.linalg.inv(prior + float(value) * gram * precision)
        known = xp.permute_dims(xp.matmul(inverse, weighted), (0, 2, 1))
        inverses.append(inverse)
        explained.append(xp.sum(xp.real(xp.matmul(known, whole) * xp.conj(whole)), axis=1))
    return _WindowFilter(vectors[:, kept], inverses, explained, precision)


def _filtered(
    raw: Array,
    times: NDArray[np.intp],
    pilots: slice,
    layout: Layout,
    options: Radio,
    window: _WindowFilter,
) -> tuple[Array, Array]:
    """Return the estimates at some times and the variances of their errors, [B, times, S] each."""
    xp = namespace_of(raw)
    steering, at_comb = _steering(options, layout)
    at = layout.times_s[layout.pilot_times[pilots]]
    across_time = _correlation(options, layout.times_s[times][:, None] - at) @ window.basis
    rows = xp.matmul(constant(window.basis.conj().T, raw, "complex128"), raw)
    comb = constant(at_comb.conj().T, raw, "complex128")
    matched = xp.matmul(rows, comb) * window.precision
    amplitudes: Array = 0.0
    explained: Array = 0.0
    for number, inverse in enumerate(window.inverses):
        share = constant(across_time[:, number, None], raw, "complex128")
        found = xp.matmul(inverse, matched[:, number, :, None])[:, :, 0]
        amplitudes = amplitudes + share * found[:, None, :]
        explained = explained + xp.abs(share) ** 2 * window.explained[number][:, None, :]
    error = xp.where(explained < 1.0, 1.0 - explained, 0.0)
    return xp.matmul(amplitudes, constant(steering, raw, "complex128")), error


def noise_variance(raw: Array, layout: Layout, options: Radio) -> Array:
    """Estimate the noise variance from the pilots, by maximum likelihood. Shape: [B].

    The pilots of a window are Gaussian with the covariance R_t x R_f + sigma^2 I. In the basis of
    its eigenvectors they are independent, with variances lambda + sigma^2; the likelihood is
    maximised over sigma^2 from -70 to 40 dB.

    Args:
        raw: estimates at the pilots [B, Np, P].
        layout: places of the pilots.
        options: the transmission.
    """
    xp = namespace_of(raw)
    _, at_comb = _steering(options, layout)
    scaled = at_comb.T * np.sqrt(_powers(options))
    basis, singular, _ = np.linalg.svd(scaled, full_matrices=False)
    spectrum = singular**2
    turned = xp.matmul(raw, constant(basis.conj(), raw, "complex128"))
    candidates = 10.0 ** (_SEARCH_DB / 10.0)
    likelihood: Array = 0.0
    rest_energy = _energies(raw) - _energies(turned)
    for _, pilots in _windows(layout):
        times = layout.times_s[layout.pilot_times[pilots]]
        values, vectors = _time_basis(options, times)
        rows = xp.matmul(constant(vectors.conj().T, raw, "complex128"), turned[:, pilots, :])
        # One product per row: a row's digits do not depend on the batch.
        energies = xp.reshape(xp.abs(rows) ** 2, (raw.shape[0], 1, -1))
        variances = (values[:, None] * spectrum).ravel()
        totals = variances + candidates[:, None]
        likelihood = (
            likelihood
            - xp.matmul(energies, constant(1.0 / totals.T, energies))[:, 0, :]
            - constant(np.log(totals).sum(1), energies)
        )
    count = raw.shape[1] * (raw.shape[2] - spectrum.size)
    rest = xp.where(rest_energy > 0, rest_energy, 0.0)
    likelihood = likelihood - rest[:, None] * constant(1.0 / candidates, rest)
    likelihood = likelihood - constant(count * np.log(candidates), rest)
    return _peak(likelihood)


def _energies(rows: Array) -> Array:
    """Return the energy of each codeword's numbers. Shapes: [B, T, P] -> [B]."""
    xp = namespace_of(rows)
    return xp.sum(xp.sum(xp.abs(rows) ** 2, axis=2), axis=1)


def _peak(likelihood: Array) -> Array:
    """Return the variance at the maximum, between the candidates by a parabola. [B, C] -> [B]."""
    xp = namespace_of(likelihood)
    last = _SEARCH_DB.size - 2
    best = xp.clip(xp.argmax(likelihood, axis=1), 1, last)
    values = [
        xp.take_along_axis(likelihood, (best + offset)[:, None], axis=1)[:, 0]
        for offset in (-1, 0, 1)
    ]
    curvature = values[0] - 2.0 * values[1] + values[2]
    flat = curvature >= 0
    shift = 0.5 * (values[0] - values[2]) / xp.where(flat, 1.0, curvature)
    shift = xp.where(flat, 0.0, xp.clip(shift, -1.0, 1.0))
    grid = constant(_SEARCH_DB, likelihood)
    step = float(_SEARCH_DB[1] - _SEARCH_DB[0])
    return 10.0 ** ((xp.take(grid, best, axis=0) + step * shift) / 10.0)


def drift_per_symbol(raw: Array, layout: Layout) -> Array:
    """Estimate the rotation from one OFDM symbol to the next, in radians. Shape: [B].

    That of neighbouring pilot times is unambiguous within +-pi.
    """
    xp = namespace_of(raw)
    turned = xp.sum(xp.sum(raw[:, 1:, :] * xp.conj(raw[:, :-1, :]), axis=2), axis=1)
    distance = int(layout.pilot_times[1] - layout.pilot_times[0])
    return xp.atan2(xp.imag(turned), xp.real(turned)) / distance


def interpolation(known: NDArray[np.intp], count: int) -> NDArray[np.float64]:
    """Return the weights of linear interpolation from known positions to all. Shape: [count, P]."""
    weights = np.empty((count, known.size))
    for column, unit_vector in enumerate(np.eye(known.size)):
        weights[:, column] = np.interp(np.arange(count), known, unit_vector)
    return weights


def _neighbours(
    layout: Layout,
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Return the pilot times around each OFDM symbol and the share of the later one, [N] each."""
    known, times = layout.pilot_times, np.arange(layout.num_symbols)
    low = np.clip(np.searchsorted(known, times, side="right") - 1, 0, known.size - 1)
    high = np.minimum(low + 1, known.size - 1)
    gap = np.maximum(known[high] - known[low], 1)
    share = np.where(high > low, (times - known[low]) / gap, 0.0)
    return low, np.where(share > 0, high, low), share


def _windows(layout: Layout) -> list[tuple[NDArray[np.intp], slice]]:
    """Return the windows: OFDM symbols, and the pilot times for them."""
    known = layout.pilot_times
    windows = []
    for start in range(0, known.size, WINDOW):
        end = min(start + WINDOW, known.size)
        until = known[end] if end < known.size else layout.num_symbols
        windows.append((np.arange(known[start], until), slice(start, end)))
    return windows


def _correlation(options: Radio, lags_s: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return the correlation of the gains over time lags, with that of the phase noise."""
    moving = time_correlation(lags_s, options.paths, options.doppler_hz)
    decay = np.exp(-math.pi * options.phase_noise_hz * np.abs(lags_s))
    return moving * decay


def _time_basis(
    options: Radio, times_s: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
    """Return eigenvalues [T] and eigenvectors [T, T] of the correlation between times."""
    values, vectors = np.linalg.eigh(_correlation(options, times_s[:, None] - times_s))
    return np.maximum(values, 0.0), vectors


def _powers(options: Radio) -> NDArray[np.float64]:
    paths = options.paths
    return paths.total_powers if paths else np.ones(1)


def _steering(
    options: Radio, layout: Layout
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Return the steering matrices at all subcarriers [L, S] and at the pilots [L, P]."""
    steering = steering_matrix(options.delays_s, options.frequencies_hz)
    return steering, steering[:, layout.pilot_carriers]
