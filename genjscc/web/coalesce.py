# SPDX-License-Identifier: Apache-2.0
"""Coalescing of requests that replace each other, such as those of a slider."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Latest:
    """Runner of `work` after `ask`, one at a time; requests during a run cause one more run."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._asked = False
        self._task: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """Request a run."""
        self._asked = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._asked:
            self._asked = False
            await self._work()

    def close(self) -> None:
        """Cancel the run in progress."""
        self._asked = False
        if self._task is not None:
            self._task.cancel()
