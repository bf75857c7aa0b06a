# SPDX-License-Identifier: Apache-2.0
"""OFDM: checks of a transmission's options, and the resource grid of a codeword.

The grid has N OFDM symbols of S subcarriers. Pilots occupy some of the elements, the codeword's
symbols fill the others in order of time, then frequency, and the rest of the last OFDM symbol
stays empty. The time signal of an OFDM symbol is the unitary inverse Fourier transform of its
subcarriers, preceded by a cyclic prefix, so that an element of power 1 gives samples of the same
total energy.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from channel.physics import Array, namespace_of
from channel.tdl import PROFILES, Profile, constant, max_doppler_hz
from genjscc.errors import InvalidInputError, quoted
from genjscc.wire.ofdm import OFDM_CHOICES, Ofdm

MIN_FFT_SIZE, MAX_FFT_SIZE = 8, 4096
_MAX_ELEMENTS = 4 * 1024 * 1024
# Above it, interference between subcarriers, which the model leaves out, would exceed -24 dB.
_MAX_DOPPLER = 0.05


@dataclass(frozen=True)
class Radio(Ofdm):
    """Checked options of a transmission, with the quantities that follow from them."""

    @property
    def used(self) -> int:
        """Number S of subcarriers in use."""
        return self.subcarriers or self.fft_size

    @property
    def paths(self) -> Profile | None:
        """Delay profile; None without multipath."""
        return PROFILES.get(self.profile)

    @property
    def delays_s(self) -> NDArray[np.float64]:
        """Path delays in seconds. Shape: [L]."""
        paths = self.paths
        scale = self.delay_spread_ns * 1e-9
        return np.array(paths.delays if paths else [0.0]) * scale

    @property
    def doppler_hz(self) -> float:
        """The largest Doppler shift in Hz."""
        if self.paths is None:
            return 0.0
        return max_doppler_hz(self.carrier_frequency_hz, self.speed_mps)

    @property
    def sample_rate_hz(self) -> float:
        """Samples per second."""
        return self.fft_size * self.subcarrier_spacing_hz

    @property
    def symbol_s(self) -> float:
        """Duration of an OFDM symbol with its prefix, in seconds."""
        return (self.fft_size + self.cyclic_prefix) / self.sample_rate_hz

    @property
    def frequencies_hz(self) -> NDArray[np.float64]:
        """Frequencies of the subcarriers in use, relative to the carrier. Shape: [S]."""
        numbers = np.arange(self.used, dtype=np.float64) - self.used // 2
        return numbers * self.subcarrier_spacing_hz

    @property
    def bins(self) -> NDArray[np.intp]:
        """Positions of the subcarriers in use among those of the Fourier transform. Shape: [S]."""
        return (np.arange(self.used) - self.used // 2) % self.fft_size

    @property
    def is_impaired(self) -> bool:
        """Whether the hardware distorts the time signal."""
        return self.clipping_db is not None or any(
            (self.cfo, self.phase_noise_hz, self.iq_gain_db, self.iq_phase_deg)
        )


def checked_radio(given: Ofdm, k: int, *, field: str = "ofdm") -> Radio:
    """Check the options for a codeword of k symbols.

    Raises:
        InvalidInputError: a value is out of range, or the values do not fit each other.
    """
    _check_choices(given, field)
    options = Radio(**asdict(given))
    ranges = {
        "delay_spread_ns": (0.0, 1e5),
        "carrier_frequency_hz": (1e6, 1e12),
        "speed_mps": (0.0, 1e4),
        "fft_size": (MIN_FFT_SIZE, MAX_FFT_SIZE),
        "subcarriers": (0, options.fft_size),
        "subcarrier_spacing_hz": (1.0, 1e8),
        "cyclic_prefix": (0, options.fft_size),
        "clipping_db": (-3.0, 60.0),
        "cfo": (-0.5, 0.5),
        "phase_noise_hz": (0.0, 0.1 * options.subcarrier_spacing_hz),
        "iq_gain_db": (-6.0, 6.0),
        "iq_phase_deg": (-45.0, 45.0),
    }
    for name, (least, most) in ranges.items():
        value = getattr(options, name)
        if value is not None and not least <= value <= most:  # also refuses NaN
            raise InvalidInputError(
                f"{field}.{name}", f"got {value}; must be from {least:g} to {most:g}"
            )
    _check_pilots(options, field)
    delay = options.delays_s.max() * options.sample_rate_hz
    if delay > options.cyclic_prefix:
        raise InvalidInputError(
            f"{field}.cyclic_prefix",
            f"got {options.cyclic_prefix}; must be at least {math.ceil(delay)} samples, the "
            f"longest delay of {options.profile} at {options.delay_spread_ns:g} ns",
        )
    doppler, most = options.doppler_hz, _MAX_DOPPLER * options.subcarrier_spacing_hz
    if doppler > most:
        raise InvalidInputError(
            f"{field}.speed_mps",
            f"got {options.speed_mps:g}, a Doppler shift of {doppler:g} Hz; must give at most "
            f"{_MAX_DOPPLER:.0%} of the subcarrier spacing, {most:g} Hz",
        )
    elements = _num_ofdm_symbols(options, k)[0] * options.fft_size
    if elements > _MAX_ELEMENTS:
        raise InvalidInputError(
            f"{field}.fft_size",
            f"got {options.fft_size}; {k} symbols would take {elements} samples of at most "
            f"{_MAX_ELEMENTS}",
        )
    return options


def _check_choices(options: Ofdm, field: str) -> None:
    for name, known in OFDM_CHOICES.items():
        value = getattr(options, name)
        if value not in known:
            raise InvalidInputError(
                f"{field}.{name}", f"got {quoted(value)}; must be one of {', '.join(known)}"
            )


def _check_pilots(options: Radio, field: str) -> None:
    if options.subcarriers == 1:
        raise InvalidInputError(f"{field}.subcarriers", "got 1; must be 0 (all) or at least 2")
    if options.pilots == "none":
        if options.estimation != "perfect":
            raise InvalidInputError(
                f"{field}.estimation",
                f"got {options.estimation} without pilots; must be perfect, or set pilots",
            )
        return
    most = options.used - 1 if options.pilots == "comb" else 1024
    least = 2
    if not least <= options.pilot_spacing <= most:
        raise InvalidInputError(
            f"{field}.pilot_spacing",
            f"got {options.pilot_spacing}; must be from {least} (every other one) to {most} for "
            f"{options.pilots} pilots on {options.used} subcarriers",
        )
    if options.pilots == "comb" and _comb(options).size >= options.used:
        raise InvalidInputError(
            f"{field}.pilot_spacing",
            f"got {options.pilot_spacing}; {options.used} subcarriers would all be pilots",
        )


def _comb(options: Radio) -> NDArray[np.intp]:
    """Return the pilot subcarriers of a comb: the last one too, so that none is extrapolated."""
    comb = np.arange(0, options.used, options.pilot_spacing)
    return np.union1d(comb, options.used - 1).astype(np.intp)


def _num_ofdm_symbols(options: Radio, k: int) -> tuple[int, int]:
    """Return the OFDM symbols of a codeword, and how many of them are all pilots."""
    if options.pilots == "comb":
        return -(-k // (options.used - _comb(options).size)), 0
    data = -(-k // options.used)
    if options.pilots == "none":
        return data, 0
    pilots = -(-data // (options.pilot_spacing - 1))
    return data + pilots, pilots


@dataclass(frozen=True, eq=False)
class Layout:
    """Places of pilots and codeword in a grid of N x S elements.

    Attributes:
        num_symbols: N, the number of OFDM symbols.
        pilot_times: OFDM symbols with pilots [Np], ascending.
        pilot_carriers: subcarriers with pilots [P], ascending.
        pilots: values of the pilots of an OFDM symbol, of modulus 1. Shape: [P].
        data: positions of the codeword's symbols in the flat grid [k].
        times_s: time of each OFDM symbol in seconds [N].
        channel_uses: complex degrees of freedom that the grid takes, prefix and empty elements
            included: its duration times the bandwidth in use.
    """

    num_symbols: int
    pilot_times: NDArray[np.intp]
    pilot_carriers: NDArray[np.intp]
    pilots: NDArray[np.complex128]
    data: NDArray[np.intp]
    times_s: NDArray[np.float64]
    channel_uses: int

    @property
    def num_pilots(self) -> int:
        """Number of pilot elements."""
        return self.pilot_times.size * self.pilot_carriers.size


def layout_of(options: Radio, k: int) -> Layout:
    """Return the layout of a codeword of k symbols."""
    symbols, used = _num_ofdm_symbols(options, k)[0], options.used
    times = np.arange(symbols)
    if options.pilots == "comb":
        pilot_times, carriers = times, _comb(options)
    elif options.pilots == "block":
        pilot_times, carriers = times[:: options.pilot_spacing], np.arange(used)
    else:
        pilot_times, carriers = times[:0], np.arange(used)
    free = np.ones((symbols, used), dtype=bool)
    free[np.ix_(pilot_times, carriers)] = False
    # A chirp: its time signal has no peaks.
    numbers = np.arange(carriers.size)
    pilots = np.exp(1j * math.pi * numbers**2 / max(carriers.size, 1))
    samples = symbols * (options.fft_size + options.cyclic_prefix)
    return Layout(
        symbols,
        pilot_times,
        carriers,
        pilots,
        np.flatnonzero(free)[:k],
        times.astype(np.float64) * options.symbol_s,
        math.ceil(samples * used / options.fft_size),
    )


def fill_grid(z: Array, layout: Layout, used: int) -> Array:
    """Place symbols and pilots in the grid. Shapes: [B, k] -> [B, N, S]."""
    xp = namespace_of(z)
    start = np.zeros((layout.num_symbols, used), np.complex128)
    start[np.ix_(layout.pilot_times, layout.pilot_carriers)] = layout.pilots
    empty = constant(start.reshape(1, -1), z, "complex64")
    grid = xp.astype(xp.repeat(empty, z.shape[0], axis=0), z.dtype)
    grid[:, constant(layout.data, z, "int64")] = z
    return xp.reshape(grid, (z.shape[0], layout.num_symbols, used))


def data_of(grid: Array, layout: Layout) -> Array:
    """Return the codeword's elements of a grid. Shapes: [B, N or 1, S] -> [B, k]."""
    xp = namespace_of(grid)
    rows, times, used = grid.shape
    where = layout.data if times > 1 else layout.data % used
    flat = xp.reshape(grid, (rows, times * used))
    return xp.take(flat, constant(where, grid, "int64"), axis=1)


def pilots_of(grid: Array, layout: Layout) -> Array:
    """Return the pilot elements of a grid. Shapes: [B, N, S] -> [B, Np, P]."""
    xp = namespace_of(grid)
    rows = xp.take(grid, constant(layout.pilot_times, grid, "int64"), axis=1)
    return xp.take(rows, constant(layout.pilot_carriers, grid, "int64"), axis=2)
