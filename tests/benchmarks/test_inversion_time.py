# SPDX-License-Identifier: Apache-2.0
"""When one course of an inversion is as good as another, and how the page shows both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.common.harness import finish
from benchmarks.inversion_time import time_to_reach
from benchmarks.page.build import render


def point(steps: int, seconds: float, psnr_db: float, distance: float) -> dict[str, Any]:
    means = {"psnr_db": psnr_db, "st_lpips_vgg": distance, "st_lpips_alex": distance}
    of_images = {name: {"mean": mean, "ci95": 0.1, "n": 16} for name, mean in means.items()}
    return {"steps": steps, "wall_s": seconds, "cpu_s": 2 * seconds, **of_images}


COURSE = [point(1, 0.5, 15.0, 0.40), point(10, 2.5, 17.0, 0.20), point(20, 4.5, 16.0, 0.30)]


@pytest.mark.parametrize(
    ("name", "goal", "clock", "expected"),
    [
        ("st_lpips_vgg", 0.45, "wall_s", 0.5),  # the start is good enough
        ("st_lpips_vgg", 0.30, "wall_s", 1.5),  # half way between two points
        ("st_lpips_vgg", 0.30, "cpu_s", 3.0),
        ("psnr_db", 16.5, "wall_s", 2.0),  # higher is better
        ("psnr_db", 17.1, "wall_s", None),  # never
        ("st_lpips_vgg", 0.19, "wall_s", None),
    ],
)
def test_the_time_to_a_quality(name: str, goal: float, clock: str, expected: float | None) -> None:
    assert time_to_reach(COURSE, name, goal, clock) == pytest.approx(expected)


def test_the_page_shows_both_courses(tmp_path: Path) -> None:
    finish(
        tmp_path / "bench_inversion_time.json",
        short=False,
        criteria=[],
        dataset="faces",
        split="test",
        n=16,
        seed=0,
        bandwidth_ratio="1/192",
        snr_db=0.0,
        batch=4,
        models={"mine": {"curves": {"paper": COURSE[:1], "fast": COURSE}}},
    )
    page, plots = render(tmp_path, "images")
    assert "rho = 1/192, +0 dB" in page
    assert "| fast: 20 | 4.50 | 9.00 | 16.00 ± 0.10 | 0.300 ± 0.100 | 0.300 ± 0.100 |" in page
    assert list(plots) == ["bench_inversion_time.svg"]
