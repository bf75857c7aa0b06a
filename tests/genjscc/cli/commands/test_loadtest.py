# SPDX-License-Identifier: Apache-2.0
"""`genjscc loadtest` against real services."""

from __future__ import annotations

import json
from pathlib import Path

from tests.helpers.command_line import genjscc
from tests.helpers.real_services import Services


def test_an_open_loop_of_a_mix_with_failures(services: Services, tmp_path: Path) -> None:
    result = tmp_path / "out" / "load.json"
    addresses = [part for role, a in services.addresses.items() for part in (f"--{role}", a)]
    mix = ["--size", "16:2", "--size", "48x16", "--rate", "1/48", "--rate", "1/192"]
    # A scheme that these models do not have, one time in four.
    mix += ["--scheme", "deepjscc:3", "--scheme", "generative"]
    run = ["--arrival-rate", "50", "--num", "40", "--warm-up", "0", "-o", str(result)]
    done = genjscc("loadtest", *run, *mix, *addresses)
    assert done.returncode == 0, done.stderr
    found = json.loads(result.read_text())
    assert (found["loop"], found["arrival_rate"], found["images"]) == ("open", 50, 40)
    statuses = found["statuses"]
    assert sum(statuses.values()) == 40
    assert statuses["OK"] > 10
    assert len(statuses) == 2
    assert "INTERNAL" not in statuses
    assert found["by_size_ms"].keys() == {"16", "48x16"}
    assert found["hop_ms"].keys() == {"encode", "transmit", "decode"}
    assert found["command"].startswith("genjscc loadtest --arrival-rate 50")
    assert result.with_suffix(".png").stat().st_size > 5000
    assert "OK" in done.stdout
    assert "p99.9" in done.stdout


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    for arguments, problem in (
        (["--size", "big"], "size: got 'big'"),
        (["--arrival-rate", "0"], "arrival_rate: got 0"),
        (["--images", str(tmp_path)], "no image files"),
    ):
        done = genjscc("loadtest", *arguments)
        assert done.returncode == 1
        assert problem in done.stderr
        assert "Traceback" not in done.stderr
