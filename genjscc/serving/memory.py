# SPDX-License-Identifier: Apache-2.0
"""malloc settings: keep the buffers of batches for reuse, and release unused memory regularly.

As it comes, glibc may hand the large blocks of a batch back as soon as they are free, and the
next batch gets them as new pages, which costs CPU time; in some processes and not in others. Kept,
they lie between what is in use, in an arena for each thread. Images of many sizes
leave ever more of that, and a service that lives for weeks would look as if it leaked.
"""

from __future__ import annotations

import asyncio
import ctypes

_EVERY_S = 60.0
# Of mallopt(3). A fixed threshold also ends its adaptation; 32 MiB is the most that there is.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_KEPT = {_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 1 << 30, _TOP_PAD: 16 << 20}


def keep_large_blocks() -> bool:
    """Let this process keep freed blocks until `give_back`; False without glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(option, value) == 1 for option, value in _KEPT.items())


def give_back() -> bool:
    """Return free pages of all arenas to the operating system; False without glibc.

    Takes milliseconds, in which threads that allocate may wait.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return False
    trim(ctypes.c_size_t(0))
    return True


async def give_back_regularly(every_s: float = _EVERY_S) -> None:
    """Call `give_back` regularly, off the event loop, until cancelled."""
    while True:
        await asyncio.sleep(every_s)
        if not await asyncio.to_thread(give_back):
            return
