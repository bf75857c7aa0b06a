# SPDX-License-Identifier: Apache-2.0
"""Changed folders of models, loaded without a restart.

The folder is loaded as at the start, beside the models that are served. Then requests go to the new
ones. If one of the old models is broken now, nothing changes.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from pathlib import Path
from typing import Any, Protocol, cast

from genjscc.errors import GenJSCCError
from genjscc.serving.catalogue import Catalogue
from genjscc.serving.memory import give_back
from genjscc.serving.metrics import Metrics
from genjscc.serving.scheduling.dispatcher import Dispatcher

log = logging.getLogger("genjscc")
# A collection stops the service for a tenth of a second; an inversion may take minutes.
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
Signature = frozenset[tuple[str, int, int, int]]


class ModelEngine(Protocol):
    """An engine with models."""

    catalogue: Catalogue[Any]


class Reloader:
    """Loads a service's models again, when told to or when their folder has changed.

    Args:
        dispatcher: whose engine is replaced.
        folder: of the models.
        metrics: of the service.
        watch_s: seconds between looks at the folder; 0: only when told to.
    """

    def __init__(
        self,
        dispatcher: Dispatcher[Any, Any, Any, Any],
        folder: Path,
        metrics: Metrics,
        watch_s: float,
    ) -> None:
        self._dispatcher, self._folder, self._metrics = dispatcher, folder, metrics
        self._watch_s = watch_s
        self._told = asyncio.Event()
        self._loaded: Signature = signature(folder)
        self._reclaiming: asyncio.Task[None] | None = None

    def tell(self) -> None:
        """Load the folder again, changed or not."""
        self._told.set()

    async def run(self) -> None:
        """Reload until cancelled."""
        seen = self._loaded
        while True:
            told = await self._wait()
            now = await asyncio.to_thread(signature, self._folder)
            # While files are being copied, every look sees another folder.
            if told or (now != self._loaded and now == seen):
                self._loaded = now
                await self._reload()
            seen = now

    async def _wait(self) -> bool:
        """Wait until it is time to look; return whether somebody told to reload."""
        try:
            await asyncio.wait_for(self._told.wait(), self._watch_s or None)
        except TimeoutError:
            return False
        self._told.clear()
        return True

    async def _reload(self) -> None:
        # What was frozen at the start would never be collected.
        gc.unfreeze()
        old = weakref.ref(self._dispatcher.engine)
        try:
            await self._dispatcher.replace(_accept)
        except GenJSCCError as error:
            self._metrics.reloads.labels("failed").inc()
            log.error("models not reloaded", extra={"reason": str(error)})
        except Exception:
            self._metrics.reloads.labels("failed").inc()
            log.exception("models not reloaded")
        else:
            self._metrics.reloads.labels("done").inc()
            catalogue = cast("ModelEngine", self._dispatcher.engine).catalogue
            log.info("models reloaded", extra={"models": ", ".join(m.name for m in catalogue)})
        self._reclaiming = asyncio.create_task(self._reclaim(old, self._reclaiming))

    async def _reclaim(self, old: weakref.ref[Any], before: asyncio.Task[None] | None) -> None:
        """Return the memory of the models before once no call needs them."""
        if before is not None:
            before.cancel()
        pause_s = _SHORTEST_PAUSE_S
        while old() is not self._dispatcher.engine and old() is not None:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            gc.collect()
        gc.collect()
        gc.freeze()
        await asyncio.to_thread(give_back)


def _accept(old: Any, new: Any) -> None:
    new.catalogue.check_replaces(old.catalogue)


def signature(folder: Path) -> Signature:
    """Return what changes when a bundle of a folder does: names, times, lengths and inodes."""
    found = set()
    for path in folder.glob("[!.]*/*"):
        try:
            status = path.stat()
        except OSError:  # removed meanwhile
            continue
        entry = (str(path), status.st_mtime_ns, status.st_size, status.st_ino)
        found.add(entry)
    return frozenset(found)
