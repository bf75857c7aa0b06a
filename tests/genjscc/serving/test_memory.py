# SPDX-License-Identifier: Apache-2.0
"""What services do with memory that is free."""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from genjscc.serving.memory import give_back, give_back_regularly, keep_large_blocks

_PIECE, _PIECES = 20_000, 10_000

glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc")


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def make_holes() -> tuple[list[bytes], int]:
    """One piece in a hundred, where all hundred were; the bytes in memory before."""
    pieces = [bytes(_PIECE) for _ in range(_PIECES)]
    return pieces[::100], resident()


@glibc
def test_what_is_free_between_what_is_in_use_goes_back() -> None:
    kept, before = make_holes()
    assert before - resident() < 0.1 * _PIECE * _PIECES
    assert give_back()
    assert before - resident() > 0.5 * _PIECE * _PIECES
    assert len(kept) == _PIECES // 100


@glibc
async def test_it_happens_again_and_again_until_it_is_cancelled() -> None:
    task = asyncio.create_task(give_back_regularly(0.01))
    for _ in range(2):
        kept, before = make_holes()
        async with asyncio.timeout(100):
            while before - resident() < 0.5 * _PIECE * _PIECES:
                await asyncio.sleep(0.01)
        assert len(kept) == _PIECES // 100
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


_BATCHES = """
import resource, sys, threading
from genjscc.serving.memory import keep_large_blocks

if sys.argv[1] == "keep":
    assert keep_large_blocks()

def batches():
    for _ in range(20):
        blocks = [bytearray(1 << 20) for _ in range(40)]
        del blocks

def faults():
    thread = threading.Thread(target=batches)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread.start()
    thread.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""


@glibc
def test_blocks_of_a_batch_serve_the_next_one() -> None:
    def new_pages(how: str) -> int:
        command = [sys.executable, "-c", _BATCHES, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    # 40 MiB, 20 times, are 204,800 pages; bytearray writes to each.
    assert new_pages("give") > 100_000
    assert new_pages("keep") < 20_000


async def test_it_ends_where_there_is_nothing_to_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert not give_back()
    assert not keep_large_blocks()
    await asyncio.wait_for(give_back_regularly(0.0), 100)
