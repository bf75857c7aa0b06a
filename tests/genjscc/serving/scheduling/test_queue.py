# SPDX-License-Identifier: Apache-2.0
"""The queue that forms batches: order, keys, deadlines, delay, whatever is done to it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from genjscc.serving.scheduling.queue import BatchQueue


class Item:
    """Has its own identity, its key and its deadline."""

    def __init__(self, key: int, deadline: int | None) -> None:
        self.key, self.deadline = key, deadline


# (key, deadline after so many ticks) puts an item, "next" takes a batch, "expire" the late ones,
# ("drop", i) discards the i-th item of all so far. Each action takes one tick.
actions = st.lists(
    st.tuples(st.integers(0, 2), st.none() | st.integers(0, 20))
    | st.sampled_from(["next", "expire"])
    | st.tuples(st.just("drop"), st.integers(0, 30)),
    max_size=60,
)


@given(actions, st.integers(1, 4))
def test_like_plain_lists_that_take_turns(script: list[object], max_batch: int) -> None:
    queue: BatchQueue[Item] = BatchQueue(max_batch=max_batch)
    model: list[Item] = []
    turns: list[int] = []
    everything: list[Item] = []

    def keep(left: list[Item]) -> None:
        model[:] = left
        turns[:] = [key for key in turns if key in {item.key for item in left}]

    def take_turn(now: int) -> None:
        alike = [item for item in model if item.key == turns[0]][:max_batch] if turns else []
        assert queue.next_batch(now) == alike
        turns[:] = [*turns[1:], *turns[:1]]
        keep([item for item in model if item not in alike])

    for now, action in enumerate(script):
        if action == "next":
            take_turn(now)
        elif action == "expire":
            late = [i for i in model if i.deadline is not None and i.deadline <= now]
            assert queue.take_expired(now) == late
            keep([item for item in model if item not in late])
        elif isinstance(action, tuple) and action[0] == "drop":
            for item in everything[action[1] : action[1] + 1]:
                assert queue.discard(item) is (item in model)
                keep([other for other in model if other is not item])
        else:
            assert isinstance(action, tuple)
            key, ticks = action
            item = Item(key, None if ticks is None else now + ticks)
            everything.append(item)
            queue.put(key, item, now, item.deadline)
            model.append(item)
            turns += [key] if key not in turns else []
        assert len(queue) == len(model)
    # Whatever happened, all that is left comes out.
    while len(queue):
        take_turn(len(script))
    assert model == []


def test_many_large_images_before_it_delay_a_small_one_by_one_batch() -> None:
    queue: BatchQueue[str] = BatchQueue(max_batch=16)
    for number in range(8):
        queue.put("large", f"large {number}", 0.0, most=2)
    assert queue.next_batch(0.0) == ["large 0", "large 1"]
    queue.put("small", "small", 1.0)
    assert queue.next_batch(1.0) == ["large 2", "large 3"]
    assert queue.next_batch(1.0) == ["small"]


def test_discarding_goes_by_identity() -> None:
    queue: BatchQueue[list[str]] = BatchQueue(max_batch=2)
    one, two = ["x"], ["x"]
    queue.put(0, one, 0)
    queue.put(0, two, 0)
    queue.discard(one)
    (left,) = queue.next_batch(0)
    assert left is two


def test_an_item_waits_for_company_until_the_batch_is_full_or_it_is_due() -> None:
    queue: BatchQueue[str] = BatchQueue(max_batch=3, max_delay_s=1.0)
    assert queue.due_at() is None
    queue.put("key", "a", 10.0)
    queue.put("other", "x", 10.1)
    queue.put("key", "b", 10.2)
    assert queue.next_batch(10.9) == []
    assert queue.due_at() == 11.0
    queue.put("key", "c", 10.95)
    assert queue.next_batch(10.95) == ["a", "b", "c"]
    assert queue.next_batch(11.0) == []
    assert queue.next_batch(11.1) == ["x"]
    assert len(queue) == 0
