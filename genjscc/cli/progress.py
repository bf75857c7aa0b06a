# SPDX-License-Identifier: Apache-2.0
"""Progress bars, which become periodic log lines without a terminal."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from rich.progress import Progress, TaskID

_LOG_EVERY_S = 60.0


class LoggedProgress(Progress):
    """Rich's progress bar; if standard error is no terminal, its row is printed once a minute.

    The minute is that of the process: work that is shown as many short bars does not fill a log.
    """

    _told_at: ClassVar[float] = time.monotonic()

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Advance a task as rich's bar does."""
        super().advance(task_id, advance)
        self._tell(task_id)

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Update a task as rich's bar does."""
        super().update(task_id, **changes)
        self._tell(task_id)

    def stop(self) -> None:
        """Stop as rich's bar does, without its empty lines if there is no terminal."""
        if self.console.is_terminal:
            super().stop()
        else:
            self.live.stop()

    def _tell(self, task_id: TaskID) -> None:
        now = time.monotonic()
        if self.disable or self.console.is_terminal or now < self._told_at + _LOG_EVERY_S:
            return
        LoggedProgress._told_at = now
        (task,) = (task for task in self.tasks if task.id == task_id)
        self.console.print(self.make_tasks_table([task]))
