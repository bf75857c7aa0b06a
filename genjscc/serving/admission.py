# SPDX-License-Identifier: Apache-2.0
"""Who may come in: bounds on calls, on streams and on the items of streams.

A call of its own that finds no place is refused at once. An item of a stream waits: its sender
is slowed down by that. The two have places of their own, so that neither can take all of them,
and streams take turns, however many items each has.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from genjscc.errors import OverloadedError

_FIRST_GUESS_S = 0.1
_SHORTEST_S, _LONGEST_S = 0.02, 10.0
_SMOOTHING = 0.1


class Place:
    """The right to be in work; a context that gives it back in the end."""

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave = leave

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._leave()


class Admission:
    """The places of one service. Lives on one event loop.

    Args:
        calls: single calls that may be in work.
        items: items of streams that may be in work, of all streams together.
        streams: streams that may be open.
    """

    def __init__(self, *, calls: int, items: int, streams: int) -> None:
        self._most_calls, self._most_streams = calls, streams
        self._calls = self._streams = 0
        # First come, first served; a stream waits for one place at a time.
        self._items = asyncio.Semaphore(items)
        self._seconds_per_item: float | None = None

    def enter_call(self) -> Place:
        """A place for a single call.

        Raises:
            OverloadedError: there is none.
        """
        if self._calls >= self._most_calls:
            raise self._refusal(f"{self._most_calls} calls are waiting already")
        self._calls += 1
        return Place(self._leave_call)

    def enter_stream(self) -> Place:
        """A place for a stream.

        Raises:
            OverloadedError: there is none.
        """
        if self._streams >= self._most_streams:
            raise self._refusal(f"{self._most_streams} streams are open already")
        self._streams += 1
        return Place(self._leave_stream)

    async def enter_item(self) -> Place:
        """A place for an item of a stream, as soon as there is one."""
        await self._items.acquire()
        return Place(self._items.release)

    def note_served(self, count: int, seconds: float) -> None:
        """A batch was computed; the hint when to come again is made from that."""
        each = seconds / count
        if self._seconds_per_item is None:
            self._seconds_per_item = each
        self._seconds_per_item += _SMOOTHING * (each - self._seconds_per_item)

    def _refusal(self, problem: str) -> OverloadedError:
        # By then half of what waits is done. Refused callers must not come back all at once.
        half = _FIRST_GUESS_S
        if self._seconds_per_item is not None:
            half = self._calls / 2 * self._seconds_per_item
        hint = min(_LONGEST_S, max(_SHORTEST_S, half)) * random.uniform(0.5, 1.5)  # noqa: S311
        return OverloadedError(f"{problem}; try again later", retry_after_s=hint)

    def _leave_call(self) -> None:
        self._calls -= 1

    def _leave_stream(self) -> None:
        self._streams -= 1
