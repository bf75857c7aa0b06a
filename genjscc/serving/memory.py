# SPDX-License-Identifier: Apache-2.0
"""Memory that nobody uses goes back to the operating system.

glibc keeps what is freed between what is in use, in an arena for each thread. Images of many sizes
leave ever more of that, and a service that lives for weeks would look as if it leaked.
"""

from __future__ import annotations

import asyncio
import ctypes

_EVERY_S = 60.0


def give_back() -> bool:
    """Hands free pages of all arenas back; False where the C library has no such call (not glibc).

    Takes milliseconds, in which threads that allocate may wait.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return False
    trim(ctypes.c_size_t(0))
    return True


async def give_back_regularly(every_s: float = _EVERY_S) -> None:
    """Does so again and again, off the event loop, until it is cancelled."""
    while True:
        await asyncio.sleep(every_s)
        if not await asyncio.to_thread(give_back):
            return
