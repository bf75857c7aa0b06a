# SPDX-License-Identifier: Apache-2.0
"""A practical channel code: 5G LDPC (3GPP TS 38.212) with QAM, implemented by Sionna.

Bits -> LDPC with rate matching -> Gray-mapped QAM (or BPSK) of average power 1 -> noise and fading
of the channel service -> exact bitwise demapping -> 20 iterations of belief propagation. More bits
than fit into a block (8448; 3840 at rates up to 1/4) are split into blocks of equal length, all of
which must be decoded; at most one symbol per block stays unused.

In favour of this baseline, decoding failures are detected without a checksum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from channel.noise import unit_noise_rows
from channel.physics import awgn, noise_power
from genjscc.client.options import Awgn
from genjscc.conventions import bits_per_symbol
from genjscc.errors import InvalidInputError, needs
from genjscc.evaluation.separation.capacity import (
    AnyChannel,
    Attempt,
    channel_gains,
)

MODULATIONS = {"BPSK": 1, "4-QAM": 2, "16-QAM": 4, "64-QAM": 6}
"""bits per symbol, by name"""
CODE_RATES = ("1/5", "1/3", "1/2", "2/3")
_SMALLEST = 12
_ITERATIONS = 20
_BLOCKS_AT_ONCE = 64
# Standard deviations: a code that needs a better channel draw than that is not simulated.
_DEVIATIONS = 2.0


class LdpcLink:
    """LDPC coding and modulation for k symbols of an image.

    Args:
        k: complex symbols of an image.
        modulation: one of `MODULATIONS`.
        code_rate: one of `CODE_RATES`, or any from 1/5 to 9/10.

    Attributes:
        num_bits: information bits of an image.

    Raises:
        InvalidInputError: fewer than 12 information bits would fit.
        MissingExtraError: Sionna is not installed.
    """

    def __init__(self, k: int, modulation: str, code_rate: str) -> None:
        blocks = _import_sionna()
        order, rate = MODULATIONS[modulation], Fraction(code_rate)
        largest = 3840 if rate <= Fraction(1, 4) else 8448  # of base graph 2 and 1
        self._blocks = -(-math.ceil(k * order * rate) // largest)
        self._symbols = k // max(1, self._blocks)
        coded = self._symbols * order
        self._block_bits = math.ceil(coded * rate)
        if self._block_bits < _SMALLEST:
            raise InvalidInputError(
                "k",
                f"{k} symbols of {modulation} at rate {code_rate} carry {self._block_bits} bits; "
                f"5G LDPC needs {_SMALLEST}",
            )
        self.num_bits = self._blocks * self._block_bits
        self._k = k
        self._encoder = blocks.encoder(
            self._block_bits, coded, num_bits_per_symbol=order, device="cpu"
        )
        self._decoder = blocks.decoder(self._encoder, num_iter=_ITERATIONS, device="cpu")
        kind = "pam" if order == 1 else "qam"
        constellation = blocks.constellation(kind, order, device="cpu")
        self._mapper = blocks.mapper(constellation=constellation)
        self._demapper = blocks.demapper("app", constellation=constellation)

    @property
    def blocks(self) -> int:
        """Number of LDPC blocks of an image."""
        return self._blocks

    @torch.inference_mode()
    def transmit(
        self, bits: NDArray[np.uint8], snr_db: float, channel: AnyChannel, seeds: Sequence[int]
    ) -> NDArray[np.uint8]:
        """Send bits [B, num_bits] of B images, each with its seed's noise, and decode them."""
        batch = len(bits)
        words = torch.from_numpy(bits.reshape(batch * self._blocks, self._block_bits)).float()
        sent = self._mapper(self._encoder(words)).reshape(batch, -1)
        used = sent.shape[1]
        noise = torch.from_numpy(unit_noise_rows(seeds, self._k)[:, :used])
        variance = torch.full((batch, used), float(noise_power(snr_db)))
        gains = torch.ones(batch, used, dtype=torch.complex64)
        if not isinstance(channel, Awgn):
            gains = torch.from_numpy(channel_gains(channel, seeds, self._k)[:, :used])
        received = awgn(sent * gains, torch.full((batch,), snr_db), noise) / gains
        variance = variance / gains.abs() ** 2
        shape = (batch * self._blocks, self._symbols)
        decoded = self._decoder(self._demapper(received.reshape(shape), variance.reshape(shape)))
        result: NDArray[np.uint8] = decoded.to(torch.uint8).numpy()
        return result.reshape(batch, self.num_bits)


def ldpc_attempts(
    ks: Sequence[int], snr_db: float, channel: AnyChannel, *, seed: int
) -> list[Attempt]:
    """Simulate attempts by modulation and code rate.

    They start with the most bytes and stop once everything arrives, because smaller files cannot
    be better. A block's decoding does not depend on its bits (5G scrambles them), so random bits
    represent any file, and the outcome is valid for every codec.

    Args:
        ks: complex symbols of each image.
        snr_db: SNR of the channel; the average SNR under fading.
        channel: channel model.
        seed: image i has the noise and gains of seed + i, as with the other schemes.
    """
    _import_sionna()
    efficiencies = {
        (modulation, code_rate): order * Fraction(code_rate)
        for modulation, order in MODULATIONS.items()
        for code_rate in CODE_RATES
    }
    attempts = []
    for name in sorted(efficiencies, key=efficiencies.__getitem__, reverse=True):
        if isinstance(channel, Awgn) and efficiencies[name] > most_bits(min(ks), snr_db):
            continue
        attempt = _attempt(name, ks, snr_db, channel, seed)
        attempts.append(attempt)
        if attempt.arrived.all():
            break
    nothing = np.zeros(len(ks), dtype=np.int64)
    return attempts or [Attempt(nothing, nothing.astype(bool))]


def most_bits(k: int, snr_db: float) -> float:
    """Return the bits per symbol above which no code of k symbols exceeds 2.3 % success over AWGN.

    The normal approximation (Polyanskiy, Poor and Verdú, 2010) with the dispersion of the
    complex channel, SNR (SNR + 2)/(SNR + 1)^2 log2(e)^2.
    """
    snr = 1 / float(noise_power(snr_db))
    dispersion = snr * (snr + 2) / (snr + 1) ** 2 / math.log(2) ** 2
    return bits_per_symbol(snr_db) + _DEVIATIONS * math.sqrt(dispersion / k)


def _attempt(
    name: tuple[str, str], ks: Sequence[int], snr_db: float, channel: AnyChannel, seed: int
) -> Attempt:
    budgets = np.zeros(len(ks), dtype=np.int64)
    arrived = np.zeros(len(ks), dtype=bool)
    for k in set(ks):
        link = _link(k, *name)
        if link is None:
            continue
        members = [i for i, other in enumerate(ks) if other == k]
        budgets[members] = link.num_bits // 8
        arrived[members] = simulate(link, snr_db, channel, [seed + i for i in members])
    return Attempt(budgets, arrived, *name)


def simulate(
    link: LdpcLink, snr_db: float, channel: AnyChannel, seeds: Sequence[int]
) -> NDArray[np.bool_]:
    """Return whether random bits of each seed arrive: bool [len(seeds)].

    If none of the first 64 blocks arrives, the others are assumed to fail as well.
    """
    arrived = np.zeros(len(seeds), dtype=bool)
    step = max(1, _BLOCKS_AT_ONCE // link.blocks)
    for start in range(0, len(seeds), step):
        some = seeds[start : start + step]
        bits = np.stack(
            [np.random.default_rng(s).integers(0, 2, link.num_bits, dtype=np.uint8) for s in some]
        )
        same = link.transmit(bits, snr_db, channel, some) == bits
        arrived[start : start + step] = same.all(1)
        if start == 0 and not same.reshape(len(some) * link.blocks, -1).all(1).any():
            break
    return arrived


@cache
def _link(k: int, modulation: str, code_rate: str) -> LdpcLink | None:
    try:
        return LdpcLink(k, modulation, code_rate)
    except InvalidInputError:
        return None


class _Blocks:
    """Sionna's encoder, decoder and mapping classes."""

    encoder: Any
    decoder: Any
    constellation: Any
    mapper: Any
    demapper: Any


def _import_sionna() -> _Blocks:
    with needs(
        "ldpc", "the LDPC chain", otherwise=" (or leave it out with --channel-code capacity)"
    ):
        from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
        from sionna.phy.mapping import Constellation, Demapper, Mapper
    blocks = _Blocks()
    blocks.encoder, blocks.decoder = LDPC5GEncoder, LDPC5GDecoder
    blocks.constellation, blocks.mapper, blocks.demapper = Constellation, Mapper, Demapper
    return blocks
