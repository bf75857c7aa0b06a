# SPDX-License-Identifier: Apache-2.0
"""Queue of jobs, which decides which of them run next as a batch.

Pure: no thread, no event loop, and the time is told to it. The dispatcher brings those; how many
items may wait is for `genjscc.serving.scheduling.admission` to say.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class _Entry(Generic[T]):
    number: int
    item: T
    since: float
    deadline: float | None
    most: int


class BatchQueue(Generic[T]):
    """Queue of items: those of one key leave in order, as batches, and keys take turns.

    A batch is the oldest items of the key whose turn it is. Small images therefore wait for at
    most one batch of each other size, however many larger images came before them.

    Args:
        max_batch: how many may leave together.
        max_delay_s: how long the oldest item waits for a batch to become full.
    """

    def __init__(self, *, max_batch: int, max_delay_s: float = 0.0) -> None:
        self.max_batch, self.max_delay_s = max_batch, max_delay_s
        # The key whose turn is next comes first.
        self._lines: dict[Hashable, deque[_Entry[T]]] = {}
        self._count = 0

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def put(
        self,
        key: Hashable,
        item: T,
        now: float,
        deadline: float | None = None,
        most: int | None = None,
    ) -> None:
        """Add an item.

        Args:
            key: items of equal keys may leave together.
            item: what waits.
            now: the time.
            deadline: after which it is of no use.
            most: items of its key that may leave together, if fewer than `max_batch`.
        """
        most = self.max_batch if most is None else min(most, self.max_batch)
        self._count += 1
        entry = _Entry(self._count, item, now, deadline, most)
        self._lines.setdefault(key, deque()).append(entry)

    def discard(self, item: T) -> bool:
        """Remove an item that nobody waits for any more. False if it was not in the queue."""
        return bool(self._take(lambda entry: entry.item is item))

    def take_expired(self, now: float) -> list[T]:
        """Remove and return the items whose deadline has passed."""
        return self._take(lambda entry: entry.deadline is not None and entry.deadline <= now)

    def _take(self, wanted: Callable[[_Entry[T]], bool]) -> list[T]:
        taken: list[_Entry[T]] = []
        for key, line in [*self._lines.items()]:
            found = [entry for entry in line if wanted(entry)]
            if len(found) == len(line):
                del self._lines[key]
            elif found:
                self._lines[key] = deque(entry for entry in line if not wanted(entry))
            taken += found
        return [entry.item for entry in sorted(taken, key=lambda entry: entry.number)]

    def next_batch(self, now: float) -> list[T]:
        """Remove and return the next items to run together; empty if none are due."""
        for key, line in self._lines.items():
            oldest = line[0]
            if len(line) < oldest.most and now < oldest.since + self.max_delay_s:
                continue
            batch = [line.popleft().item for _ in range(min(oldest.most, len(line)))]
            del self._lines[key]
            if line:
                self._lines[key] = line
            return batch
        return []

    def due_at(self) -> float | None:
        """Return when an item stops waiting for batch fill; None if nothing waits."""
        oldest = [line[0].since for line in self._lines.values()]
        return min(oldest) + self.max_delay_s if oldest else None
