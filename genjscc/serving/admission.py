# SPDX-License-Identifier: Apache-2.0
"""Who may come in: bounds on calls, on streams and on the items of streams.

A call of its own that finds no place is refused at once. An item of a stream waits: its sender
is slowed down by that. The two have places of their own, so that neither can take all of them,
and streams take turns, however many items each has.

A place is for work that has arrived. Who holds one and lets the service wait, because the content
of a call does not come, a stream is silent or its answers are not read, loses it to the next one
who finds none: first the oldest of the peer that has the most of those. And no peer has all.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from genjscc.errors import OverloadedError

_FIRST_GUESS_S = 0.1
_SHORTEST_S, _LONGEST_S = 0.02, 10.0
_SMOOTHING = 0.1
# In a burst of honest calls nobody's content is older.
_SPARED_S, _LOOK_AGAIN_S = 2.0, 0.1
# Of the places, those that one peer leaves to others.
_RESERVED = 4


class Place:
    """The right to be in work; a context that gives it back in the end."""

    def __init__(self, leave: Callable[[Place], None], peer: str = "") -> None:
        self._leave, self.peer = leave, peer
        self.evicted = False
        self._waits_since: float | None = None
        self._evict: Callable[[], object] = lambda: None

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave(self)

    def wait(self, evict: Callable[[], object]) -> None:
        """From now on the service waits for the caller; `evict` ends that."""
        self._waits_since, self._evict = time.monotonic(), evict

    def work(self) -> None:
        """From now on the caller waits for the service."""
        self._waits_since = None

    def waits_at(self, moment: float) -> bool:
        """Whether the service has waited since a moment."""
        return self._waits_since is not None and self._waits_since <= moment

    def evict(self) -> None:
        """Takes the place away."""
        self.evicted = True
        self._waits_since = None
        self._evict()


class _Places:
    """Places of one kind.

    Args:
        most: how many there are.
        evicted: called for each that is taken away.
    """

    def __init__(self, most: int, evicted: Callable[[], None]) -> None:
        self._most, self._evicted = most, evicted
        self._share = most - most // _RESERVED
        self._held: dict[Place, None] = {}  # the oldest first
        self._of_peer: dict[str, int] = {}
        self._look_again_at = 0.0

    def __len__(self) -> int:
        return len(self._held)

    def enter(self, peer: str) -> Place | None:
        """A place; None: there is none for this peer."""
        if len(self._held) >= self._most and not self._make_room():
            return None
        if peer and self._of_peer.get(peer, 0) >= self._share:
            return None
        place = Place(self._leave, peer)
        self._held[place] = None
        self._of_peer[peer] = self._of_peer.get(peer, 0) + 1
        return place

    def _make_room(self) -> bool:
        now = time.monotonic()
        if now < self._look_again_at:
            return False
        waiting = [place for place in self._held if place.waits_at(now - _SPARED_S)]
        if not waiting:
            # Refusals have to be cheap.
            self._look_again_at = now + _LOOK_AGAIN_S
            return False
        counts: dict[str, int] = {}
        for place in waiting:
            counts[place.peer] = counts.get(place.peer, 0) + 1
        greediest = max(counts, key=lambda peer: counts[peer])
        victim = next(place for place in waiting if place.peer == greediest)
        self._leave(victim)
        victim.evict()
        self._evicted()
        return True

    def _leave(self, place: Place) -> None:
        if place not in self._held:  # it was taken away
            return
        del self._held[place]
        self._of_peer[place.peer] -= 1
        if not self._of_peer[place.peer]:
            del self._of_peer[place.peer]


class Admission:
    """The places of one service. Lives on one event loop.

    Args:
        calls: single calls that may be in work.
        items: items of streams that may be in work, of all streams together.
        streams: streams that may be open.
        evicted: called for each place that is taken away from one who lets the service wait.
    """

    def __init__(
        self,
        *,
        calls: int,
        items: int,
        streams: int,
        evicted: Callable[[], None] = lambda: None,
    ) -> None:
        self._calls, self._streams = _Places(calls, evicted), _Places(streams, evicted)
        # First come, first served; a stream waits for one place at a time.
        self._items = asyncio.Semaphore(items)
        self._seconds_per_item: float | None = None

    def enter_call(self, peer: str = "") -> Place:
        """A place for a single call.

        Raises:
            OverloadedError: there is none.
        """
        place = self._calls.enter(peer)
        if place is None:
            raise self.refusal(f"{len(self._calls)} calls are waiting already")
        return place

    def enter_stream(self, peer: str = "") -> Place:
        """A place for a stream.

        Raises:
            OverloadedError: there is none.
        """
        place = self._streams.enter(peer)
        if place is None:
            raise self.refusal(f"{len(self._streams)} streams are open already")
        return place

    async def enter_item(self) -> Place:
        """A place for an item of a stream, as soon as there is one."""
        await self._items.acquire()
        return Place(lambda _: self._items.release())

    def note_served(self, count: int, seconds: float) -> None:
        """A batch was computed; the hint when to come again is made from that."""
        each = seconds / count
        if self._seconds_per_item is None:
            self._seconds_per_item = each
        self._seconds_per_item += _SMOOTHING * (each - self._seconds_per_item)

    def refusal(self, problem: str) -> OverloadedError:
        """The error of one who finds no place, with a hint when to come again."""
        # By then half of what waits is done. Refused callers must not come back all at once.
        half = _FIRST_GUESS_S
        if self._seconds_per_item is not None:
            half = len(self._calls) / 2 * self._seconds_per_item
        hint = min(_LONGEST_S, max(_SHORTEST_S, half)) * random.uniform(0.5, 1.5)  # noqa: S311
        return OverloadedError(f"{problem}; try again later", retry_after_s=hint)
