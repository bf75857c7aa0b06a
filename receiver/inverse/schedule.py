# SPDX-License-Identifier: Apache-2.0
"""Learning-rate schedule of a stage, and detection of a loss plateau."""

from __future__ import annotations

import math

_SMOOTHING = 0.8


def rate_factor(step: int, steps: int, ramp_up: float, ramp_down: float) -> float:
    """Return the factor of a step's learning rates, 0 to 1, by ILO's schedule.

    Args:
        step: 0 to steps - 1.
        steps: number of steps of the stage.
        ramp_up: initial fraction of the stage, in which the factor rises linearly from 0.
        ramp_down: final fraction, in which it falls to 0 as a cosine.
    """
    t = step / steps
    falling = min(1.0, (1 - t) / ramp_down) if ramp_down else 1.0
    rising = min(1.0, t / ramp_up) if ramp_up else 1.0
    return (0.5 - 0.5 * math.cos(falling * math.pi)) * rising


class Plateau:
    """Detector of a noisy loss that has stopped falling.

    Args:
        patience: steps without improvement that make a plateau; 0: never.
        tolerance: relative decrease of the smoothed loss that counts as improvement.
    """

    def __init__(self, patience: int, tolerance: float) -> None:
        self._patience, self._tolerance = patience, tolerance
        self._smoothed = self._best = math.inf
        self._stale = 0

    def reached(self, loss: float) -> bool:
        """Add a step's loss and return whether the plateau is reached."""
        if math.isinf(self._smoothed):
            self._smoothed = loss
        self._smoothed = _SMOOTHING * self._smoothed + (1 - _SMOOTHING) * loss
        if self._smoothed < self._best * (1 - self._tolerance):
            self._best, self._stale = self._smoothed, 0
        else:
            self._stale += 1
        return 0 < self._patience <= self._stale
