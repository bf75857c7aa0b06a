# SPDX-License-Identifier: Apache-2.0
"""How many bytes a channel carries, and for which images: codes that reach capacity.

Under AWGN each of k symbols carries log2(1 + SNR) bits. Under block fading the transmitter knows
the average SNR only, as the learned schemes do: it must settle on a rate, and an image whose
gains carry less is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from channel.noise import Stream, unit_noise_rows
from channel.physics import noise_power, rician_gains, spread_gains
from genjscc.client.options import Awgn, Fading

AnyChannel = Awgn | Fading
# Under fading: the gain, in dB, that the transmitter counts on.
_MARGINS_DB = np.arange(-20.0, 3.5, 1.5)


@dataclass(frozen=True, eq=False)
class Attempt:
    """One way to use the channel.

    Attributes:
        budgets: int64 [n], bytes that each image may have.
        arrived: bool [n], whether they arrive.
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
    """Attempts at capacity: one under AWGN, one per margin under fading.

    Args:
        ks: complex symbols of each image.
        snr_db: of the channel; the average one under fading.
        channel: its kind.
        seed: image number i has the gains of seed + i, those that other schemes meet.
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
    """The gain of every symbol, [len(seeds), k], as the channel service draws them."""
    length = min(channel.block_length or k, k)
    draws = unit_noise_rows(seeds, -(-k // length), Stream.FADING)
    spread: NDArray[np.complex64] = spread_gains(rician_gains(draws, channel.k_factor), k, length)
    return spread


def bits_per_symbol(snr_db: float) -> float:
    """Capacity of a complex symbol, log2(1 + SNR)."""
    return float(np.log2(1 + 1 / noise_power(snr_db)))


def _bytes(symbols: NDArray[np.int64], rate: float) -> NDArray[np.int64]:
    # A hair above: 16 symbols of 1 bit are 2 bytes, whatever log2 rounds to.
    return np.floor(symbols * rate / 8 + 1e-9).astype(np.int64)
