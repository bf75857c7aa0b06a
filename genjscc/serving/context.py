# SPDX-License-Identifier: Apache-2.0
"""Context of the call being served: request id and deadline. Inherited by tasks, not by threads."""

from __future__ import annotations

import time
from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The caller's, or one made here; "-" outside a call."""

deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
"""time.monotonic() at which the caller stops waiting; None: it waits for ever."""


# What a caller's own clock is ahead: its time began before its call had arrived.
_AHEAD_S = 0.1


def is_due(moment: float | None) -> bool:
    """Return whether a call cancelled at this moment was cancelled because of its deadline."""
    return moment is not None and time.monotonic() >= moment - _AHEAD_S


def has_passed(moment: float | None) -> bool:
    """Return whether a deadline has passed."""
    return moment is not None and time.monotonic() >= moment
