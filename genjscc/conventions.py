# SPDX-License-Identifier: Apache-2.0
"""Bandwidth ratio and SNR in the conventions of the field.

Papers and their code count the same transmission differently: complex or real channel uses, per
source sample or per pixel, noise per symbol, per real dimension or per bit. All functions here are
exact apart from the capacity, log2(1 + SNR) bits per complex symbol of an AWGN channel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from genjscc.errors import InvalidInputError

RateConvention = Literal["rho", "real", "pixel", "factor", "k", "bpp"]
SnrConvention = Literal["symbol", "bit", "real-noise"]

COLOURS = 3
"""real source samples per pixel"""
_LARGEST = 100.0
# -10 log10(ln 2): below it no rate reaches capacity at any SNR.
_SHANNON_LIMIT_DB = 10 * math.log10(math.log(2))


@dataclass(frozen=True)
class Rate:
    """The cost of sending one image, in all conventions.

    Attributes:
        width, height: of the image in pixels.
        rho: complex symbols per real source sample, k / (3·H·W). Also called bandwidth ratio,
            CBR, BCR, bandwidth compression ratio or channel uses per source dimension.
    """

    width: int
    height: int
    rho: Fraction

    @property
    def pixels(self) -> int:
        """Pixels of the image."""
        return self.width * self.height

    @property
    def m(self) -> int:
        """Real source samples, 3·H·W."""
        return COLOURS * self.pixels

    @property
    def k(self) -> Fraction:
        """Complex symbols; a whole number only if rho fits the size."""
        return self.rho * self.m

    @property
    def real_uses(self) -> Fraction:
        """Uses of a real channel, 2k."""
        return 2 * self.k

    @property
    def real_ratio(self) -> Fraction:
        """Real channel uses per real source sample, 2k/m: twice rho."""
        return 2 * self.rho

    @property
    def per_pixel(self) -> Fraction:
        """Complex symbols per pixel, 3·rho."""
        return COLOURS * self.rho

    @property
    def factor(self) -> Fraction:
        """Source samples per complex symbol, m/k: a compression of 48:1 is rho = 1/48."""
        return 1 / self.rho

    def bits_per_pixel(self, bits_per_symbol: float) -> float:
        """Bits per pixel of a code with this many bits per complex symbol."""
        return float(self.per_pixel) * bits_per_symbol

    def bits(self, bits_per_symbol: float) -> float:
        """Bits of the whole image."""
        return float(self.k) * bits_per_symbol


def rate_from(
    value: Fraction, convention: RateConvention, size: tuple[int, int], bits_per_symbol: float
) -> Rate:
    """Return the rate that a value means in a convention.

    Args:
        value: above 0.
        convention: "rho", "real" (2k/m), "pixel" (k per pixel), "factor" (m/k), "k", or "bpp"
            (bits per pixel).
        size: width and height in pixels.
        bits_per_symbol: for "bpp", bits per complex symbol.

    Raises:
        InvalidInputError: the value is not positive, or gives rho above 100.
    """
    if value <= 0:
        raise InvalidInputError("value", f"got {value}; must be above 0")
    width, height = size
    samples = COLOURS * width * height
    rho = {
        "rho": lambda: value,
        "real": lambda: value / 2,
        "pixel": lambda: value / COLOURS,
        "factor": lambda: 1 / value,
        "k": lambda: value / samples,
        "bpp": lambda: value / COLOURS / Fraction(bits_per_symbol),
    }[convention]()
    if rho > _LARGEST:
        raise InvalidInputError("value", f"got {value}, which is rho = {float(rho):g}; too large")
    return Rate(width, height, rho)


def bits_per_symbol(snr_db: float) -> float:
    """Return the capacity of a complex symbol over AWGN, log2(1 + SNR) bits."""
    return math.log1p(10 ** (snr_db / 10)) / math.log(2)


@dataclass(frozen=True)
class Snr:
    """One SNR in all conventions.

    Attributes:
        symbol_db: P/sigma² in dB, with sigma² the noise variance per complex symbol: Es/N0, the
            convention of GenJSCC. Signal and noise halve together in each real dimension, so this
            is also the SNR per real dimension.
        bits_per_symbol: bits per complex symbol that the value per bit refers to.
    """

    symbol_db: float
    bits_per_symbol: float

    @property
    def bit_db(self) -> float:
        """Eb/N0 in dB: the energy per bit instead of per symbol."""
        return self.symbol_db - 10 * math.log10(self.bits_per_symbol)

    @property
    def real_noise_db(self) -> float:
        """P per complex symbol over the noise variance per *real* dimension, in dB.

        Code that adds sigma * randn() to real and imaginary part, with sigma² = P/SNR each, has
        this SNR. It is 3.01 dB above `symbol_db`.
        """
        return self.symbol_db + 10 * math.log10(2)

    @property
    def noise_variance(self) -> float:
        """sigma² per complex symbol for P = 1."""
        return 10 ** (-self.symbol_db / 10)


def snr_from(snr_db: float, convention: SnrConvention, bits: float | None = None) -> Snr:
    """Return the SNR that a value in dB means in a convention.

    Args:
        snr_db: value in dB.
        convention: "symbol" (Es/N0), "bit" (Eb/N0) or "real-noise".
        bits: bits per complex symbol, as modulation order times code rate; None: at capacity.

    Raises:
        InvalidInputError: bits is not positive, or Eb/N0 is below the Shannon limit of -1.59 dB
            at capacity.
    """
    if bits is not None and bits <= 0:
        raise InvalidInputError("bits_per_symbol", f"got {bits:g}; must be above 0")
    if convention == "real-noise":
        snr_db -= 10 * math.log10(2)
    elif convention == "bit" and bits is not None:
        snr_db += 10 * math.log10(bits)
    elif convention == "bit":
        snr_db = _symbol_db_at_capacity(snr_db)
    return Snr(snr_db, bits_per_symbol(snr_db) if bits is None else bits)


def _symbol_db_at_capacity(bit_db: float) -> float:
    """Solve Es/N0 = Eb/N0 · log2(1 + Es/N0) by bisection."""
    if bit_db <= _SHANNON_LIMIT_DB:
        raise InvalidInputError(
            "snr_db", f"got Eb/N0 = {bit_db:g} dB; must be above {_SHANNON_LIMIT_DB:.2f} dB"
        )
    low, high = -200.0, 200.0
    for _ in range(100):
        middle = (low + high) / 2
        above = middle - 10 * math.log10(bits_per_symbol(middle)) > bit_db
        low, high = (low, middle) if above else (middle, high)
    return (low + high) / 2
