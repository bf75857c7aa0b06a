# SPDX-License-Identifier: Apache-2.0
"""Byte budgets of images with ideal channel codes that reach capacity.

Under AWGN each of k symbols carries log2(1 + SNR) bits. Under block fading the transmitter knows
only the average SNR, as the learned schemes do: it has to choose a rate, and an image whose gains
support less is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from channel.noise import Stream, unit_noise_rows
from channel.physics import noise_power, rician_gains, spread_gains
from genjscc.client.options import Awgn, Fading
from genjscc.conventions import bits_per_symbol

AnyChannel = Awgn | Fading
# Under fading: the gain, in dB, that the transmitter assumes.
_MARGINS_DB = np.arange(-20.0, 3.5, 1.5)


@dataclass(frozen=True, eq=False)
class Attempt:
    """One choice of modulation and code rate, or of a fading margin.

    Attributes:
        budgets: int64 [n], byte budget of each image.
        arrived: bool [n], whether each image's bytes arrive.
        modulation: such as '16-QAM'; None at capacity.
        code_rate: such as '1/2'; None at capacity.
    """

    budgets: NDArray[np.int64]
    arrived: NDArray[np.bool_]
    modulation: str | None = None
    code_rate: str | None = None


def capacity_attempts(
    ks: Sequence[int], snr_db: float, channel: AnyChannel, *, seed: int
) -> list[Attempt]:
    """Return attempts at capacity: one under AWGN, one per margin under fading.

    Args:
        ks: complex symbols of each image.
        snr_db: SNR of the channel; the average SNR under fading.
        channel: channel model.
        seed: image i has the gains of seed + i, as with the other schemes.
    """
    symbols = np.asarray(ks, dtype=np.int64)
    if isinstance(channel, Awgn):
        return [Attempt(_bytes(symbols, bits_per_symbol(snr_db)), np.ones(len(ks), dtype=bool))]
    carried = np.array(
        [
            np.log2(1 + np.abs(gains) ** 2 / noise_power(snr_db)).mean()
            for gains in (channel_gains(channel, [seed + i], k)[0] for i, k in enumerate(ks))
        ]
    )
    rates = [bits_per_symbol(snr_db + margin) for margin in _MARGINS_DB]
    return [Attempt(_bytes(symbols, rate), carried >= rate) for rate in rates]


def channel_gains(channel: Fading, seeds: Sequence[int], k: int) -> NDArray[np.complex64]:
    """Draw every symbol's gain, [len(seeds), k], exactly as the channel service does."""
    length = min(channel.block_length or k, k)
    draws = unit_noise_rows(seeds, -(-k // length), Stream.FADING)
    spread: NDArray[np.complex64] = spread_gains(rician_gains(draws, channel.k_factor), k, length)
    return spread


def _bytes(symbols: NDArray[np.int64], rate: float) -> NDArray[np.int64]:
    # Slightly above, so that 16 symbols of 1 bit give 2 bytes despite the rounding of log2.
    return np.floor(symbols * rate / 8 + 1e-9).astype(np.int64)
