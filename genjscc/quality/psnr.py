# SPDX-License-Identifier: Apache-2.0
"""Peak signal-to-noise ratio (eq. 17)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def psnr_db(reference: NDArray[np.uint8], image: NDArray[np.uint8]) -> float:
    """Return 10 log10(255^2/MSE) of two 8-bit images of one shape, in dB; inf if equal."""
    difference = reference.astype(np.float64) - image.astype(np.float64)
    mse = float(np.mean(difference**2))
    return math.inf if mse == 0 else 10 * math.log10(255**2 / mse)
