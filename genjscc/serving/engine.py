# SPDX-License-Identifier: Apache-2.0
"""Interface between a service's computation and its server.

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
    """Computation of a service: prepare, run (batched), finish, all called off the event loop."""

    def prepare(self, request: Request) -> Job:
        """Check a request and read its content. Raises GenJSCCError."""
        ...

    def key(self, job: Job) -> Hashable:
        """Return the batching key: jobs with equal keys may run together."""
        ...

    def run(self, jobs: Sequence[Job]) -> Sequence[Result]:
        """Compute jobs of one key; no result depends on the other jobs."""
        ...

    def finish(self, job: Job, result: Result) -> Response:
        """Return the response to a job."""
        ...


@runtime_checkable
class QuickEngine(Protocol[Request]):
    """An engine that can tell which requests are small.

    Attributes:
        runs_quickly: whether `run` of one of them is as short as the rest. Never true of a
            network.
    """

    runs_quickly: bool

    def is_quick(self, request: Request) -> bool:
        """Return whether `prepare` and `finish` take well under a millisecond.

        To hand such a request to a thread and back would take longer: both are called on the
        event loop, and so is `run` where it is quick. Never true where an image file is read or
        written.
        """
        ...


@runtime_checkable
class SizedEngine(Protocol):
    """An engine that limits batches by the size of their jobs."""

    def most_together(self, job: Any) -> int:
        """Return how many jobs like this one may run together; further ones are not waited for."""
        ...


def answer(engine: Engine[Request, Job, Result, Response], request: Request) -> Response:
    """Answer one request in the calling thread."""
    job = engine.prepare(request)
    (result,) = engine.run([job])
    return engine.finish(job, result)


def answer_many(
    engine: Engine[Request, Job, Result, Response], requests: Sequence[Request], max_batch: int
) -> list[Response | GenJSCCError]:
    """Answer many requests in the calling thread, batched by key; failures become errors."""
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
