# SPDX-License-Identifier: Apache-2.0
"""Adaptive clipping of gradients that are far longer than usual.

Adam with a short memory follows one outlier for many steps, and losses whose targets are running
moments respond with more of them: a run of many hours may diverge within a minute.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

# Decay of the running length per step, which starts at the first step's length.
_KEEP = 0.98


class GradientLimit:
    """Clipping factors for the gradients of several networks, with one running length each.

    Args:
        times: maximum length of a gradient in multiples of its running length; 0: no limit.
    """

    def __init__(self, times: float) -> None:
        self.times = times
        self._lengths: dict[str, float] = {}

    def factor(self, name: str, length: float) -> float:
        """Return the factor for a network's gradient of this length: at most 1."""
        usual = self._lengths.get(name, length)
        limit = self.times * usual if self.times else math.inf
        self._lengths[name] = _KEEP * usual + (1 - _KEEP) * min(length, limit)
        return limit / length if length > limit else 1.0

    def state_dict(self) -> dict[str, float]:
        """Return the running lengths."""
        return dict(self._lengths)

    def load_state_dict(self, lengths: Mapping[str, float]) -> None:
        """Restore running lengths."""
        self._lengths = dict(lengths)
