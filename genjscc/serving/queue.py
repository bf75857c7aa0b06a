# SPDX-License-Identifier: Apache-2.0
"""The queue between requests and the model: which items run next, together.

Pure: no thread, no event loop, and the time is told to it. The dispatcher brings those; how many
items may wait is for `genjscc.serving.admission` to say.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class _Entry(Generic[T]):
    key: Hashable
    item: T
    since: float
    deadline: float | None


class BatchQueue(Generic[T]):
    """First in, first out; a batch is the oldest item and later ones of the same key.

    Args:
        max_batch: how many may leave together.
        max_delay_s: how long the oldest item waits for a batch to become full.
    """

    def __init__(self, *, max_batch: int, max_delay_s: float = 0.0) -> None:
        self.max_batch, self.max_delay_s = max_batch, max_delay_s
        self._waiting: deque[_Entry[T]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, key: Hashable, item: T, now: float, deadline: float | None = None) -> None:
        """Adds an item; it is of no use after the deadline."""
        self._waiting.append(_Entry(key, item, now, deadline))

    def discard(self, item: T) -> bool:
        """Takes out an item that nobody waits for any more. False: it was not there."""
        before = len(self._waiting)
        self._waiting = deque(entry for entry in self._waiting if entry.item is not item)
        return len(self._waiting) < before

    def take_expired(self, now: float) -> list[T]:
        """Takes out the items whose deadline has passed."""

        def late(entry: _Entry[T]) -> bool:
            return entry.deadline is not None and entry.deadline <= now

        expired = [entry.item for entry in self._waiting if late(entry)]
        if expired:
            self._waiting = deque(entry for entry in self._waiting if not late(entry))
        return expired

    def next_batch(self, now: float) -> list[T]:
        """Takes out the next items to run together; empty when none are due."""
        if not self._waiting:
            return []
        oldest = self._waiting[0]
        batch: list[T] = []
        rest: deque[_Entry[T]] = deque()
        for entry in self._waiting:
            if entry.key == oldest.key and len(batch) < self.max_batch:
                batch.append(entry.item)
            else:
                rest.append(entry)
        if len(batch) < self.max_batch and now < oldest.since + self.max_delay_s:
            return []
        self._waiting = rest
        return batch

    def due_at(self) -> float | None:
        """When the oldest item will not wait for company any longer; None: nothing waits."""
        return self._waiting[0].since + self.max_delay_s if self._waiting else None
