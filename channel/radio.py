# SPDX-License-Identifier: Apache-2.0
"""The radio link of a codeword: OFDM, multipath, hardware, noise, estimation, equalisation.

`transmit` takes NumPy or PyTorch arrays, as `channel.physics` does, and PyTorch gradients flow
from the equalised symbols to the sent ones. Randomness is an argument; `draw` makes it from seeds.

Conventions: a resource element has the mean power 1, pilots included, and sigma^2 is the noise
variance per element, so that the SNR means the same as without OFDM. Multipath is applied as one
gain per element. This is exact for a channel that does not change within an OFDM symbol and is
not longer than the cyclic prefix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from channel.estimation import (
    Estimate,
    at_pilots,
    drift_per_symbol,
    least_squares,
    lmmse,
    noise_variance,
)
from channel.impairments import clip, oscillator, papr_db, unbalance
from channel.noise import Stream, unit_noise_rows
from channel.ofdm import Layout, Radio, data_of, fill_grid, layout_of, pilots_of
from channel.physics import Array, measured_snr_db, namespace_of, noise_power
from channel.tdl import constant, frequency_response, num_draws, path_gains, unit

# Below it, an estimated variance is a rounding error.
_LEAST_NOISE = 1e-7
# Bound of a division by the power of a gain.
_LEAST_POWER = 1e-12


class Draws(NamedTuple):
    """Random numbers of a batch: draws of CN(0, 1).

    Attributes:
        noise: [B, N, S].
        fading: [B, num_draws(profile)]; None without multipath.
        phase: [B, N, T] for T samples of an OFDM symbol with its prefix; None without phase noise.
    """

    noise: Array
    fading: Array | None
    phase: Array | None


class Arrival(NamedTuple):
    """What arrives of a batch, and its measurements.

    Attributes:
        symbols: equalised symbols [B, k].
        snr_db: power of the symbols over noise and distortion at the antenna, in dB [B].
        equalized_snr_db: the same after equalisation: ||z||^2/||z_hat - z||^2 [B].
        estimated_snr_db: that SNR as the receiver estimates it, without knowing z or the noise [B].
        papr_db: peak-to-average power ratio of the samples as sent, in dB [B].
    """

    symbols: Array
    snr_db: Array
    equalized_snr_db: Array
    estimated_snr_db: Array
    papr_db: Array


def draw_shapes(options: Radio, k: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of one codeword's draws by name; draws that are not needed are missing."""
    symbols = layout_of(options, k).num_symbols
    shapes: dict[str, tuple[int, ...]] = {"noise": (symbols, options.used)}
    if options.paths is not None:
        shapes["fading"] = (num_draws(options.paths),)
    if options.phase_noise_hz:
        shapes["phase"] = (symbols, options.fft_size + options.cyclic_prefix)
    return shapes


def draw(options: Radio, k: int, seeds: Sequence[int]) -> Draws:
    """Draw the random numbers of codewords of k symbols from their seeds."""
    shapes = draw_shapes(options, k)

    def rows(name: str, stream: Stream) -> NDArray[np.complex64] | None:
        if name not in shapes:
            return None
        drawn = unit_noise_rows(seeds, math.prod(shapes[name]), stream)
        return drawn.reshape(len(seeds), *shapes[name])

    noise = rows("noise", Stream.NOISE)
    return Draws(noise, rows("fading", Stream.FADING), rows("phase", Stream.PHASE_NOISE))


def transmit(z: Array, snr_db: Array, draws: Draws, options: Radio) -> Arrival:
    """Send codewords over OFDM and equalise what arrives.

    Args:
        z: symbols [B, k] of average power 1.
        snr_db: average SNR of each codeword in dB [B].
        draws: random numbers.
        options: checked options (`checked_radio`).
    """
    xp = namespace_of(z)
    layout = layout_of(options, z.shape[1])
    sigma2 = xp.astype(noise_power(snr_db), xp.float64)
    sigma = xp.astype(xp.sqrt(sigma2), xp.real(z).dtype)
    signal, gains, papr = _through_the_air(z, draws, options, layout)
    received = signal + sigma[:, None, None] * draws.noise
    snr = measured_snr_db(data_of(gains, layout) * z, data_of(received, layout))
    if options.estimation == "perfect":
        exact = constant(np.zeros((1, 1, 1)), sigma2)
        estimate = Estimate(gains, exact, exact + 1.0)
        estimated, assumed = _residual_variance(received, gains, layout), sigma2
    else:
        received, estimate, estimated = _estimate(received, layout, options)
        assumed = estimated
    shape = received.shape
    at_data = data_of(xp.astype(estimate.gains, z.dtype), layout)
    share = data_of(xp.broadcast_to(estimate.share, shape), layout)
    error = data_of(xp.broadcast_to(estimate.error, shape), layout)
    likely = at_data * xp.astype(share, xp.real(z).dtype)
    if options.equalization == "zero_forcing":
        weights = _zero_forcing(at_data)
    else:
        weights = _mmse(likely, error + assumed[:, None])
    symbols = weights * data_of(received, layout)
    expected = _expected_snr_db(weights, likely, error + estimated[:, None])
    return Arrival(symbols, snr, measured_snr_db(z, symbols), expected, papr)


def _through_the_air(
    z: Array, draws: Draws, options: Radio, layout: Layout
) -> tuple[Array, Array, Array]:
    """Return the noiseless reception [B, N, S], the gains [B, N or 1, S] and the PAPR [B].

    The gains are those of a receiver that knows the channel: multipath, the part of the amplifier
    and the mixer that scales the signal, and the mean rotation of each OFDM symbol.
    """
    xp = namespace_of(z)
    grid = fill_grid(z, layout, options.used)
    rows, symbols, _ = grid.shape
    bins = constant(options.bins, grid, "int64")
    spectrum = xp.astype(
        constant(np.zeros((rows, symbols, options.fft_size)), grid, "complex64"), grid.dtype
    )
    spectrum[:, :, bins] = grid
    sent = xp.fft.ifft(spectrum, norm="ortho")
    if not options.is_impaired:
        gains = _multipath(draws, options, layout, options.frequencies_hz, grid)
        return grid * gains, gains, papr_db(sent)
    distorted = sent
    if options.iq_gain_db or options.iq_phase_deg:
        distorted = unbalance(distorted, options.iq_gain_db, options.iq_phase_deg)
    if options.clipping_db is not None:
        mean_power = options.used / options.fft_size
        distorted = clip(distorted, (mean_power * 10.0 ** (options.clipping_db / 10.0)) ** 0.5)
    papr = papr_db(distorted)
    numbers = np.fft.fftfreq(options.fft_size, 1.0 / options.fft_size).astype(np.float64)
    response = _multipath(draws, options, layout, numbers * options.subcarrier_spacing_hz, grid)
    arriving = xp.fft.fft(distorted, norm="ortho") * response
    gains = xp.take(response, bins, axis=2)
    gains = gains * _scale(sent, distorted)[:, None, None]
    if options.cfo or options.phase_noise_hz:
        turns = xp.astype(_oscillator(draws, options, layout, grid), grid.dtype)
        arriving = xp.fft.fft(xp.fft.ifft(arriving, norm="ortho") * turns, norm="ortho")
        gains = gains * xp.mean(turns, axis=2)[:, :, None]
    return xp.take(arriving, bins, axis=2), gains, papr


def _multipath(
    draws: Draws,
    options: Radio,
    layout: Layout,
    frequencies_hz: NDArray[np.float64],
    like: Array,
) -> Array:
    """Return the gains of the paths together, [B, N or 1, F]."""
    xp = namespace_of(like)
    paths = options.paths
    if paths is None:
        return constant(np.ones((like.shape[0], 1, frequencies_hz.size)), like, "complex64")
    gains = path_gains(draws.fading, layout.times_s, paths, options.doppler_hz)
    return xp.astype(frequency_response(gains, options.delays_s, frequencies_hz), like.dtype)


def _scale(sent: Array, distorted: Array) -> Array:
    """Return the gain of the part of a distorted signal that is correlated with it [B]."""
    xp = namespace_of(sent)
    rows = sent.shape[0]
    flat, other = xp.reshape(sent, (rows, -1)), xp.reshape(distorted, (rows, -1))
    return xp.vecdot(flat, other) / xp.vecdot(flat, flat)


def _oscillator(draws: Draws, options: Radio, layout: Layout, like: Array) -> Array:
    total = options.fft_size + options.cyclic_prefix
    starts = np.arange(layout.num_symbols) * total + options.cyclic_prefix
    return oscillator(
        draws.phase,
        constant(starts, like),
        options.fft_size,
        step=2.0 * math.pi * options.cfo / options.fft_size,
        variance=2.0 * math.pi * options.phase_noise_hz / options.sample_rate_hz,
    )


def _residual_variance(received: Array, gains: Array, layout: Layout) -> Array:
    """Estimate the noise variance with known gains [B]: at the pilots, or else by the power."""
    xp = namespace_of(received)
    gains = xp.broadcast_to(gains, received.shape)
    if layout.num_pilots:
        sent = constant(layout.pilots, received, "complex64")
        rest = pilots_of(received, layout) - pilots_of(gains, layout) * sent
        variance = xp.mean(xp.mean(xp.abs(rest) ** 2, axis=2), axis=1)
    else:
        power = xp.abs(data_of(received, layout)) ** 2 - xp.abs(data_of(gains, layout)) ** 2
        variance = xp.mean(power, axis=1)
    variance = xp.astype(variance, xp.float64)
    return xp.where(variance > _LEAST_NOISE, variance, _LEAST_NOISE)


def _estimate(received: Array, layout: Layout, options: Radio) -> tuple[Array, Estimate, Array]:
    """Return the received grid without drift, the estimated gains and the noise variance [B]."""
    xp = namespace_of(received)
    raw = at_pilots(pilots_of(received, layout), layout)
    if options.cfo and layout.pilot_times.size > 1:
        drift = drift_per_symbol(raw, layout)
        numbers = constant(np.arange(layout.num_symbols), drift)
        back = xp.astype(unit(-drift[:, None] * numbers), received.dtype)
        received = received * back[:, :, None]
        raw = at_pilots(pilots_of(received, layout), layout)
    variance = noise_variance(raw, layout, options)
    estimator = least_squares if options.estimation == "ls" else lmmse
    return received, estimator(raw, layout, options, variance), variance


def _zero_forcing(gains: Array) -> Array:
    """Return 1/H."""
    xp = namespace_of(gains)
    power = xp.abs(gains) ** 2
    return xp.conj(gains) / xp.where(power > _LEAST_POWER, power, _LEAST_POWER)


def _mmse(gains: Array, noise: Array) -> Array:
    """Return the weights H*/(|H|^2 + sigma^2), scaled to the mean gain 1. Shapes: [B, k] each.

    The scale keeps the size of the codeword's symbols: decoders expect z plus noise. Subcarriers
    in a fade are weaker than the others.
    """
    xp = namespace_of(gains)
    power = xp.astype(xp.abs(gains) ** 2, xp.float64)
    scale = 1.0 / (power + noise)
    scale = scale / xp.mean(power * scale, axis=1)[:, None]
    return xp.conj(gains) * xp.astype(scale, xp.real(gains).dtype)


def _expected_snr_db(weights: Array, gains: Array, noise: Array) -> Array:
    """Return the SNR after equalisation that gains and noise variance let expect, in dB [B]."""
    xp = namespace_of(weights)
    bias = xp.abs(weights * gains - 1.0) ** 2
    error = xp.mean(bias + xp.abs(weights) ** 2 * noise, axis=1)
    return -10.0 * xp.log10(error)
