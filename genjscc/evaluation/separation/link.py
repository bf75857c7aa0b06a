# SPDX-License-Identifier: Apache-2.0
"""A digital link for single pictures: an image codec and a channel code, designed for one SNR.

The code is 5G LDPC, or an ideal one that reaches capacity. Real systems choose modulation and code
rate for the SNR that they expect. Below it the decoder fails and nothing is shown (the cliff
effect); above it the picture gets no better. `sweep` chooses anew at every SNR, which is an upper
bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import product

import numpy as np

from genjscc.client.options import Awgn
from genjscc.errors import InvalidInputError
from genjscc.evaluation.separation.capacity import capacity_attempts
from genjscc.evaluation.separation.codecs import Codec, Rgb
from genjscc.evaluation.separation.files import Files, restore
from genjscc.evaluation.separation.ldpc import (
    CODE_RATES,
    MODULATIONS,
    LdpcLink,
    most_bits,
    simulate,
)

_GREY = 128
# Codewords that must all arrive at the design SNR.
_TRIALS = 8


@dataclass(frozen=True)
class Delivery:
    """One picture at the end of a digital link.

    Attributes:
        image: uint8 [H, W, 3]; grey if nothing arrived.
        arrived: whether the channel decoder recovered the file.
        num_bytes: size of the file; 0 if no file fits.
        scheme: modulation and code rate, or the SNR whose capacity is used.
    """

    image: Rgb
    arrived: bool
    num_bytes: int
    scheme: str


class DigitalLink:
    """Sends the best file of a codec over k symbols of AWGN, with one modulation and code rate.

    Args:
        codec: writes the files; headers count.
        design_snr_db: SNR in dB for which modulation and code rate are chosen, by simulation.
        modulation: one of `MODULATIONS`, in place of the choice.
        code_rate: the code rate that goes with it.
        ideal: a code that reaches the capacity at the design SNR, in place of LDPC. What it
            carries arrives at that SNR and above, and never below.
    """

    def __init__(
        self,
        codec: Codec,
        design_snr_db: float = 0.0,
        *,
        modulation: str | None = None,
        code_rate: str | None = None,
        ideal: bool = False,
    ) -> None:
        self._codec, self._design_snr_db = codec, design_snr_db
        self._modulation, self._code_rate = modulation, code_rate
        self._ideal = ideal
        self._last: tuple[Rgb, Files] | None = None

    def send(self, image: Rgb, k: int, snr_db: float, *, seed: int) -> Delivery:
        """Send an image.

        Args:
            image: uint8 [H, W, 3].
            k: complex channel symbols.
            snr_db: SNR of the channel in dB.
            seed: seed of the channel's noise.

        Raises:
            InvalidInputError: no code works at the design SNR, or the given one has no room.
            MissingExtraError: Sionna is not installed, and the code is not ideal.
        """
        if self._ideal:
            return self._send_at_capacity(image, k, snr_db)
        if self._modulation is None or self._code_rate is None:
            modulation, code_rate = _choose(k, self._design_snr_db)
        else:
            modulation, code_rate = self._modulation, self._code_rate
        link, name = LdpcLink(k, modulation, code_rate), f"{modulation}, rate {code_rate}"
        file = self._files(image).best(link.num_bits // 8, headers=True)
        if file is None:
            return Delivery(_grey(image), False, 0, name)
        bits = np.zeros((1, link.num_bits), np.uint8)
        content = np.unpackbits(np.frombuffer(file.data, np.uint8))
        bits[0, : len(content)] = content
        arrived = bool((link.transmit(bits, snr_db, Awgn(), [seed]) == bits).all())
        return self._delivery(image, file.data, arrived, name)

    def _send_at_capacity(self, image: Rgb, k: int, snr_db: float) -> Delivery:
        (attempt,) = capacity_attempts([k], self._design_snr_db, Awgn(), seed=0)
        file = self._files(image).best(int(attempt.budgets[0]), headers=True)
        name = f"capacity at {self._design_snr_db:g} dB"
        if file is None:
            return Delivery(_grey(image), False, 0, name)
        return self._delivery(image, file.data, snr_db >= self._design_snr_db, name)

    def _delivery(self, image: Rgb, file: bytes, arrived: bool, name: str) -> Delivery:
        shown = restore(self._codec, file, *image.shape[:2]) if arrived else _grey(image)
        return Delivery(shown, arrived, len(file), name)

    def _files(self, image: Rgb) -> Files:
        # One image is usually sent at several SNRs: its files are searched once.
        if self._last is None or self._last[0] is not image:
            self._last = (image, Files(self._codec, image))
        return self._last[1]


def _grey(image: Rgb) -> Rgb:
    return np.full_like(image, _GREY)


@cache
def _choose(k: int, snr_db: float) -> tuple[str, str]:
    """Return the combination with the most bits whose trial codewords all arrive at an SNR.

    Raises:
        InvalidInputError: there is none.
    """
    combinations = sorted(
        product(MODULATIONS, CODE_RATES),
        key=lambda one: MODULATIONS[one[0]] * Fraction(one[1]),
        reverse=True,
    )
    for modulation, code_rate in combinations:
        if MODULATIONS[modulation] * Fraction(code_rate) > most_bits(k, snr_db):
            continue
        try:
            link = LdpcLink(k, modulation, code_rate)
        except InvalidInputError:
            continue
        if simulate(link, snr_db, Awgn(), range(_TRIALS)).all():
            return modulation, code_rate
    raise InvalidInputError(
        "design_snr_db", f"got {snr_db:g}; no code of {k} symbols works at this SNR"
    )
