# SPDX-License-Identifier: Apache-2.0
"""Bidirectional streams: each item gets its answer or its own error, in order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from genjscc.serving.metrics import Metrics
from genjscc.serving.scheduling.dispatcher import Dispatcher
from genjscc.serving.status import status_of
from genjscc.v1 import codeword_pb2

Answer = TypeVar("Answer")


def answer_stream(
    dispatcher: Dispatcher[Any, Any, Any, Any],
    metrics: Metrics,
    method: str,
    requests: AsyncIterator[Any],
    make_answer: Callable[..., Answer],
) -> AsyncIterator[Answer]:
    """Run each item of a stream through the dispatcher.

    Args:
        dispatcher: of the service.
        metrics: of the service.
        method: name of the streaming call.
        requests: messages with `item_id` and `request`.
        make_answer: the answer's message class, with `item_id`, `response` and `error`, and
            `progress` if its items may ask for that.
    """
    succeeded = metrics.items.labels(method, "OK")

    def answer_with(item: Any, response: Any) -> Answer:
        succeeded.inc()
        return make_answer(item_id=item.item_id, response=response)

    def answer_of_error(item: Any, error: Exception) -> Answer:
        code, text = status_of(error)
        metrics.items.labels(method, code.name).inc()
        failure = codeword_pb2.ItemError(code=code.value[0], message=text)
        return make_answer(item_id=item.item_id, error=failure)

    def answer_at_once(item: Any) -> Answer | None:
        try:
            response = dispatcher.answer_at_once(item.request)
            return None if response is None else answer_with(item, response)
        except Exception as error:  # noqa: BLE001 (an item's failure is that item's answer)
            return answer_of_error(item, error)

    async def answer_item(item: Any, send: Callable[[Answer], object]) -> Answer:
        def tell(report: Any) -> None:
            progress = codeword_pb2.ItemProgress(step=report.steps_done, num_steps=report.num_steps)
            send(make_answer(item_id=item.item_id, progress=progress))

        asked = getattr(item, "progress", False)
        try:
            return answer_with(item, await dispatcher.answer(item.request, tell if asked else None))
        except Exception as error:  # noqa: BLE001 (as above)
            return answer_of_error(item, error)

    return dispatcher.answer_stream(requests, answer_at_once, answer_item, _size_of)


def _size_of(message: Any) -> int:
    size: int = message.ByteSize()
    return size
