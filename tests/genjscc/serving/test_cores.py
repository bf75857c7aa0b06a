# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genjscc.errors import InvalidInputError
from genjscc.launch.processes import LocalService
from genjscc.serving.cores import keep_for_device, parse_cores

OWN = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
two_cores = pytest.mark.skipif(len(OWN) < 2, reason="this machine has one core")


@given(st.sets(st.integers(0, 300), min_size=1))
def test_cores_are_numbers_and_ranges(cores: set[int]) -> None:
    assert parse_cores(",".join(str(core) for core in cores)) == cores
    low, high = min(cores), max(cores)
    assert parse_cores(f"{low}-{high}, {high}") == set(range(low, high + 1))
    assert parse_cores(" ") == set()


@pytest.mark.parametrize("text", ["x", "-1", "1-", "3-2", "0;1", "0,,1", "1.5", "٣-x"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="device_cores: got"):
        parse_cores(text)


@two_cores
def test_the_device_has_its_cores_and_all_else_the_others(bundles: Path) -> None:
    flags = ["--bundles", str(bundles), "--device-cores", str(OWN[0])]
    service = LocalService("transmitter", flags)
    try:
        service.wait_ready()
        threads = Path(f"/proc/{service.process.pid}/task").iterdir()
        allowed = [os.sched_getaffinity(int(thread.name)) for thread in threads]
    finally:
        service.terminate()
        service.wait()
    assert allowed.count({OWN[0]}) == 1
    assert len(allowed) > 2
    assert all(cores == set(OWN[1:]) for cores in allowed if cores != {OWN[0]})


@two_cores
@pytest.mark.parametrize("cores", ["4000", f"0-{OWN[-1] if OWN else 0}"])
def test_cores_that_cannot_be_had_are_told(cores: str) -> None:
    with pytest.raises(InvalidInputError, match=f"device_cores: got '{cores}'; this process has"):
        keep_for_device(cores)
