# SPDX-License-Identifier: Apache-2.0
"""What a service computes, apart from how it is served.

An engine turns a request into a response in three steps, so that several requests can share the
middle one. The gRPC service and the in-process link call the same engine.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from genjscc.errors import GenJSCCError

Request = TypeVar("Request", contravariant=True)  # noqa: PLC0105
Response = TypeVar("Response", covariant=True)  # noqa: PLC0105
Job = TypeVar("Job")
Result = TypeVar("Result")


class Engine(Protocol[Request, Job, Result, Response]):
    """prepare -> run (batched) -> finish. All three are called outside the event loop."""

    def prepare(self, request: Request) -> Job:
        """Checks a request and reads its content. Raises GenJSCCError."""
        ...

    def key(self, job: Job) -> Hashable:
        """Jobs of equal keys may run together."""
        ...

    def run(self, jobs: Sequence[Job]) -> Sequence[Result]:
        """Computes jobs of one key, each as if it were alone."""
        ...

    def finish(self, job: Job, result: Result) -> Response:
        """The response of a job."""
        ...


@runtime_checkable
class QuickEngine(Protocol[Request]):
    """An engine that knows which of its requests are small.

    Attributes:
        runs_quickly: whether `run` of one of them is as short as the rest. Never true of a
            network.
    """

    runs_quickly: bool

    def is_quick(self, request: Request) -> bool:
        """Whether `prepare` and `finish` take well under a millisecond.

        To hand such a request to a thread and back would take longer: both are called on the
        event loop, and so is `run` where it is quick. Never true where an image file is read or
        written.
        """
        ...


@runtime_checkable
class SizedEngine(Protocol):
    """An engine that limits batches by the size of their jobs."""

    def most_together(self, job: Any) -> int:
        """How many jobs of this one's key may run together; others do not wait longer for them."""
        ...


def answer(engine: Engine[Request, Job, Result, Response], request: Request) -> Response:
    """One request, on the spot."""
    job = engine.prepare(request)
    (result,) = engine.run([job])
    return engine.finish(job, result)


def answer_many(
    engine: Engine[Request, Job, Result, Response], requests: Sequence[Request], max_batch: int
) -> list[Response | GenJSCCError]:
    """Many requests, on the spot, in batches of equal keys; a failing one is its error."""
    answers: list[Response | GenJSCCError | None] = [None] * len(requests)
    groups: dict[Hashable, list[tuple[int, Job]]] = {}
    for index, request in enumerate(requests):
        try:
            job = engine.prepare(request)
        except GenJSCCError as error:
            answers[index] = error
        else:
            groups.setdefault(engine.key(job), []).append((index, job))
    for group in groups.values():
        for start in range(0, len(group), max_batch):
            batch = group[start : start + max_batch]
            results: list[Result | GenJSCCError] = _run_each(engine, batch)
            for (index, job), result in zip(batch, results, strict=True):
                try:
                    answers[index] = (
                        result if isinstance(result, GenJSCCError) else engine.finish(job, result)
                    )
                except GenJSCCError as error:
                    answers[index] = error
    return cast("list[Response | GenJSCCError]", answers)


def _run_each(engine: Engine[Any, Job, Any, Any], batch: list[tuple[int, Job]]) -> list[Any]:
    try:
        return [*engine.run([job for _, job in batch])]
    except GenJSCCError as error:
        if len(batch) == 1:
            return [error]
        # One bad item must not take its neighbours along: each on its own.
        return [_run_each(engine, [one])[0] for one in batch]
