# SPDX-License-Identifier: Apache-2.0
"""Blind estimation of the SNR: from the power of a codeword, without pilots.

The average power of a codeword is exactly 1 before the noise, because the transmitter normalises
it. What the received symbols have beyond the power of the channel's gains is therefore noise:
sigma^2 = mean |y|^2 - mean |h|^2. The standard deviation of the estimate is
sqrt((2 sigma^2 + sigma^4)/k) for k symbols of a flat channel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from channel.physics import measured_power
from genjscc.limits import MAX_SNR_DB, MIN_SNR_DB


def blind_snr_db(
    received: NDArray[np.complex64], gains: NDArray[np.complex64] | None = None
) -> float:
    """Estimate the SNR after division by the gains, in dB, within the limits of an SNR.

    Args:
        received: symbols [k]; equalised ones, or with `gains` those before equalisation.
        gains: known gain of each symbol [k]; None: 1.
    """
    power = float(measured_power(received))
    if gains is None:
        noise = power - 1.0
    else:
        inverse = float(np.mean(1.0 / np.abs(gains.astype(np.complex128)) ** 2))
        noise = (power - float(measured_power(gains))) * inverse
    # NaN cannot be: symbols and gains are finite, and gains are not 0.
    if not noise > 10.0 ** (-MAX_SNR_DB / 10.0):
        return MAX_SNR_DB
    return max(float(-10.0 * np.log10(noise)), MIN_SNR_DB)
