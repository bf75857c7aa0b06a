# SPDX-License-Identifier: Apache-2.0
"""The queue that forms batches: order, keys, bounds, whatever is done to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genjscc.errors import OverloadedError
from genjscc.serving.queue import BatchQueue


class Item:
    """Has its own identity and its key."""

    def __init__(self, key: int) -> None:
        self.key = key


# A key puts an item, "next" takes a batch, ("drop", i) discards the i-th item of all so far.
actions = st.lists(
    st.integers(0, 2) | st.just("next") | st.tuples(st.just("drop"), st.integers(0, 30)),
    max_size=60,
)


@given(actions, st.integers(1, 6), st.integers(1, 4))
def test_like_a_plain_list(script: list[object], size: int, max_batch: int) -> None:
    queue: BatchQueue[Item] = BatchQueue(size=size, max_batch=max_batch)
    model: list[Item] = []
    everything: list[Item] = []
    for action in script:
        if isinstance(action, int):
            item = Item(action)
            everything.append(item)
            if len(model) < size:
                queue.put(item.key, item)
                model.append(item)
            else:
                with pytest.raises(OverloadedError, match=f"{size} items are waiting"):
                    queue.put(item.key, item)
        elif action == "next":
            alike = [item for item in model if item.key == model[0].key][:max_batch]
            assert queue.next_batch() == alike
            model = [item for item in model if item not in alike]
        else:
            assert isinstance(action, tuple)
            for item in everything[action[1] : action[1] + 1]:
                queue.discard(item)
                model = [other for other in model if other is not item]
        assert len(queue) == len(model) <= size
    # Whatever happened, all that is left comes out, oldest first.
    while batch := queue.next_batch():
        assert batch[0] is model[0]
        model = [item for item in model if item not in batch]
    assert model == []


def test_discarding_goes_by_identity() -> None:
    queue: BatchQueue[list[str]] = BatchQueue(size=2, max_batch=2)
    one, two = ["x"], ["x"]
    queue.put(0, one)
    queue.put(0, two)
    queue.discard(one)
    (left,) = queue.next_batch()
    assert left is two
