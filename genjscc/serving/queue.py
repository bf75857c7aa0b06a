# SPDX-License-Identifier: Apache-2.0
"""The bounded queue between requests and the model: which items run next, together.

Pure: no thread, no clock, no event loop. The dispatcher brings those.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from genjscc.errors import OverloadedError

T = TypeVar("T")


@dataclass(frozen=True)
class _Entry(Generic[T]):
    key: Hashable
    item: T


class BatchQueue(Generic[T]):
    """First in, first out; a batch is the oldest item and later ones of the same key.

    Args:
        size: how many items may wait.
        max_batch: how many may leave together.
    """

    def __init__(self, *, size: int, max_batch: int) -> None:
        self.size, self.max_batch = size, max_batch
        self._waiting: deque[_Entry[T]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """True while nothing more may wait."""
        return len(self._waiting) >= self.size

    def refuse_if_full(self, coming: int = 0) -> None:
        """Raises OverloadedError where the queue is full, or will be once `coming` are in."""
        if len(self._waiting) + coming >= self.size:
            raise OverloadedError(f"{self.size} items are waiting already; try again later")

    def put(self, key: Hashable, item: T) -> None:
        """Adds an item.

        Raises:
            OverloadedError: the queue is full.
        """
        self.refuse_if_full()
        self._waiting.append(_Entry(key, item))

    def discard(self, item: T) -> None:
        """Takes out an item that nobody waits for any more; its place is free at once."""
        self._waiting = deque(entry for entry in self._waiting if entry.item is not item)

    def next_batch(self) -> list[T]:
        """Takes out the next items to run together; empty when nothing waits."""
        if not self._waiting:
            return []
        key = self._waiting[0].key
        batch: list[T] = []
        rest: deque[_Entry[T]] = deque()
        for entry in self._waiting:
            if entry.key == key and len(batch) < self.max_batch:
                batch.append(entry.item)
            else:
                rest.append(entry)
        self._waiting = rest
        return batch
