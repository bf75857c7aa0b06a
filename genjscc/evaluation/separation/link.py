# SPDX-License-Identifier: Apache-2.0
"""A digital link for single pictures: an image codec and 5G LDPC, designed for one SNR.

Real systems choose modulation and code rate for the SNR that they expect. Below it the decoder
fails and nothing is shown (the cliff effect); above it the picture gets no better. `sweep` chooses
anew at every SNR, which is an upper bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from genjscc.client.options import Awgn
from genjscc.errors import InvalidInputError
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
        scheme: modulation and code rate.
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
    """

    def __init__(
        self,
        codec: Codec,
        design_snr_db: float = 0.0,
        *,
        modulation: str | None = None,
        code_rate: str | None = None,
    ) -> None:
        self._codec, self._design_snr_db = codec, design_snr_db
        self._modulation, self._code_rate = modulation, code_rate
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
            MissingExtraError: Sionna is not installed.
        """
        if self._modulation is None or self._code_rate is None:
            modulation, code_rate = _choose(k, self._design_snr_db)
        else:
            modulation, code_rate = self._modulation, self._code_rate
        link, name = LdpcLink(k, modulation, code_rate), f"{modulation}, rate {code_rate}"
        grey: NDArray[np.uint8] = np.full_like(image, _GREY)
        file = self._files(image).best(link.num_bits // 8, headers=True)
        if file is None:
            return Delivery(grey, False, 0, name)
        bits = np.zeros((1, link.num_bits), np.uint8)
        content = np.unpackbits(np.frombuffer(file.data, np.uint8))
        bits[0, : len(content)] = content
        arrived = bool((link.transmit(bits, snr_db, Awgn(), [seed]) == bits).all())
        shown = restore(self._codec, file.data, *image.shape[:2]) if arrived else grey
        return Delivery(shown, arrived, len(file.data), name)

    def _files(self, image: Rgb) -> Files:
        # One image is usually sent at several SNRs: its files are searched once.
        if self._last is None or self._last[0] is not image:
            self._last = (image, Files(self._codec, image))
        return self._last[1]


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
