# SPDX-License-Identifier: Apache-2.0
"""Large images as jobs with one step per tile.

Between two tiles the device computes other requests, so that small images wait for a tile and not
for a large image. One large image is computed at a time, because each needs memory for its
feature maps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    import torch

    from genjscc.layers.tiles import Tiles

J = TypeVar("J")
R = TypeVar("R")


@dataclass(frozen=True)
class TileReport(Generic[R]):
    """Progress of a large image: finished tiles, all tiles, and the result after the last one."""

    steps_done: int
    num_steps: int
    result: R | None = None


class TileCourse:
    """State of one large image between its tiles.

    Args:
        tiles: the work.
    """

    def __init__(self, tiles: Tiles) -> None:
        self.key = id(self)
        self._num_tiles, self._tiles = tiles.count, tiles.work
        self._done = 0
        self.seconds = 0.0
        """time in the network so far"""

    def advance(self) -> TileReport[torch.Tensor]:
        """Compute the next tile."""
        started = time.perf_counter()
        try:
            next(self._tiles)
        except StopIteration as end:
            return TileReport(self._num_tiles, self._num_tiles, end.value)
        finally:
            self.seconds += time.perf_counter() - started
        self._done += 1
        return TileReport(min(self._done, self._num_tiles), self._num_tiles)


class Tiled(Generic[J, R]):
    """`StepwiseEngine` for the large images of an engine.

    Args:
        is_large: whether a job is computed in tiles.
        begin: a job's work.
        finish: makes a job's result of the network's output and of the seconds that it took.
        precision: the arithmetic of the networks.
    """

    max_active = 1
    max_together = 1

    def __init__(
        self,
        is_large: Callable[[J], bool],
        begin: Callable[[J], Tiles],
        finish: Callable[[torch.Tensor, float], R],
        precision: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self.is_stepwise = is_large
        self._begin, self._finish, self._precision = begin, finish, precision

    def begin(self, job: J) -> TileCourse:
        """Return the state of a job before its first tile."""
        return TileCourse(self._begin(job))

    def advance(self, courses: Sequence[TileCourse]) -> list[TileReport[R]]:
        """Compute the next tile of each course."""
        # Here, because the channel serves without PyTorch.
        import torch

        reports: list[TileReport[R]] = []
        for course in courses:
            with torch.inference_mode(), self._precision():
                report = course.advance()
            result = None if report.result is None else self._finish(report.result, course.seconds)
            reports.append(TileReport(report.steps_done, report.num_steps, result))
        return reports

    def run(self, job: J) -> R:
        """Compute a job to its end."""
        course = self.begin(job)
        while (result := self.advance([course])[0].result) is None:
            pass
        return result


@runtime_checkable
class TiledEngine(Protocol):
    """An engine that computes large images in tiles; `Engine.run` accepts them too."""

    tiled: Tiled[Any, Any]
