# SPDX-License-Identifier: Apache-2.0
"""Admission control: limits on concurrent calls, streams and stream items.

A call of its own that finds no slot is refused at once. An item of a stream waits: its sender
is slowed down by that. The two have slots of their own, so that neither can take all of them,
and streams take turns, however many items each has.

A slot is for work that has arrived. Who holds one and lets the service wait, because the content
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
# Of the slots, those that one peer leaves to others.
_RESERVED = 4


class Slot:
    """Permission for one unit of work, as a context that returns it at the end."""

    def __init__(self, leave: Callable[[Slot], None], peer: str = "") -> None:
        self._leave, self.peer = leave, peer
        self.evicted = False
        self._waits_since: float | None = None
        self._evict: Callable[[], object] = lambda: None

    def __enter__(self) -> Slot:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave(self)

    def wait(self, evict: Callable[[], object]) -> None:
        """Note that the service is waiting for the caller from now on; `evict` ends the waiting."""
        self._waits_since, self._evict = time.monotonic(), evict

    def work(self) -> None:
        """Note that the caller is waiting for the service from now on."""
        self._waits_since = None

    def waits_at(self, moment: float) -> bool:
        """Return whether the service has been waiting for the caller since a moment."""
        return self._waits_since is not None and self._waits_since <= moment

    def evict(self) -> None:
        """Take the slot away from its holder."""
        self.evicted = True
        self._waits_since = None
        self._evict()


class _Slots:
    """The slots of one kind.

    Args:
        most: how many there are.
        evicted: called for each that is taken away.
    """

    def __init__(self, most: int, evicted: Callable[[], None]) -> None:
        self._most, self._evicted = most, evicted
        self._share = most - most // _RESERVED
        self._held: dict[Slot, None] = {}  # the oldest first
        self._of_peer: dict[str, int] = {}
        self._look_again_at = 0.0

    def __len__(self) -> int:
        return len(self._held)

    def enter(self, peer: str) -> Slot | None:
        """Return a slot, or None if there is none for this peer."""
        if len(self._held) >= self._most and not self._make_room():
            return None
        if peer and self._of_peer.get(peer, 0) >= self._share:
            return None
        slot = Slot(self._leave, peer)
        self._held[slot] = None
        self._of_peer[peer] = self._of_peer.get(peer, 0) + 1
        return slot

    def _make_room(self) -> bool:
        now = time.monotonic()
        if now < self._look_again_at:
            return False
        waiting = [slot for slot in self._held if slot.waits_at(now - _SPARED_S)]
        if not waiting:
            # Refusals have to be cheap.
            self._look_again_at = now + _LOOK_AGAIN_S
            return False
        counts: dict[str, int] = {}
        for slot in waiting:
            counts[slot.peer] = counts.get(slot.peer, 0) + 1
        greediest = max(counts, key=lambda peer: counts[peer])
        victim = next(slot for slot in waiting if slot.peer == greediest)
        self._leave(victim)
        victim.evict()
        self._evicted()
        return True

    def _leave(self, slot: Slot) -> None:
        if slot not in self._held:  # it was taken away
            return
        del self._held[slot]
        self._of_peer[slot.peer] -= 1
        if not self._of_peer[slot.peer]:
            del self._of_peer[slot.peer]


class Admission:
    """Slots of one service. Use it on one event loop.

    Args:
        calls: single calls that may be in work.
        items: items of streams that may be in work, of all streams together.
        streams: streams that may be open.
        evicted: called for each slot that is taken away from one who lets the service wait.
    """

    def __init__(
        self,
        *,
        calls: int,
        items: int,
        streams: int,
        evicted: Callable[[], None] = lambda: None,
    ) -> None:
        self._calls, self._streams = _Slots(calls, evicted), _Slots(streams, evicted)
        # First come, first served; a stream waits for one slot at a time.
        self._items = asyncio.Semaphore(items)
        self._seconds_per_item: float | None = None

    def enter_call(self, peer: str = "") -> Slot:
        """Return a slot for a single call.

        Raises:
            OverloadedError: there is none.
        """
        slot = self._calls.enter(peer)
        if slot is None:
            raise self.refusal(f"{len(self._calls)} calls are waiting already")
        return slot

    def enter_stream(self, peer: str = "") -> Slot:
        """Return a slot for a stream.

        Raises:
            OverloadedError: there is none.
        """
        slot = self._streams.enter(peer)
        if slot is None:
            raise self.refusal(f"{len(self._streams)} streams are open already")
        return slot

    async def enter_item(self) -> Slot:
        """Wait for a slot for a stream item."""
        await self._items.acquire()
        return Slot(lambda _: self._items.release())

    def note_served(self, count: int, seconds: float) -> None:
        """Record the time of a batch, from which retry hints are computed."""
        each = seconds / count
        if self._seconds_per_item is None:
            self._seconds_per_item = each
        self._seconds_per_item += _SMOOTHING * (each - self._seconds_per_item)

    def refusal(self, problem: str) -> OverloadedError:
        """Return the error for a caller without a slot, with a retry hint."""
        # By then half of what waits is done. Refused callers must not come back all at once.
        half = _FIRST_GUESS_S
        if self._seconds_per_item is not None:
            half = len(self._calls) / 2 * self._seconds_per_item
        hint = min(_LONGEST_S, max(_SHORTEST_S, half)) * random.uniform(0.5, 1.5)  # noqa: S311
        return OverloadedError(f"{problem}; try again later", retry_after_s=hint)
