# SPDX-License-Identifier: Apache-2.0
"""Gradients that are far longer than usual are shortened.

Adam with a short memory follows one outlier for many steps, and losses whose targets are running
moments answer with more of them: a run of many hours may come apart within a minute.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

# Share of the running length that a step keeps; the first steps count as all those before them.
_KEEP = 0.98


class GradientLimit:
    """Factors for the gradients of several networks, each with a length of its own.

    Args:
        times: how many times its running length a gradient may have; 0: any.
    """

    def __init__(self, times: float) -> None:
        self.times = times
        self._lengths: dict[str, float] = {}

    def factor(self, name: str, length: float) -> float:
        """What to multiply a network's gradient of this length by: at most 1."""
        usual = self._lengths.get(name, length)
        limit = self.times * usual if self.times else math.inf
        self._lengths[name] = _KEEP * usual + (1 - _KEEP) * min(length, limit)
        return limit / length if length > limit else 1.0

    def state_dict(self) -> dict[str, float]:
        """The running lengths."""
        return dict(self._lengths)

    def load_state_dict(self, lengths: Mapping[str, float]) -> None:
        """Goes on from running lengths."""
        self._lengths = dict(lengths)
