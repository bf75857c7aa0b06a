# SPDX-License-Identifier: Apache-2.0
"""The form of results/bench_*.json, and the page that is made from them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from benchmarks.common.estimates import spread
from benchmarks.common.harness import criterion, family_of, finish, verdict
from benchmarks.common.schema import BenchFile, Spread, read
from benchmarks.page.build import PARTS, render
from benchmarks.run import NAMES
from genjscc.errors import InvalidInputError
from genjscc.repository import REPOSITORY

COMMITTED = sorted((REPOSITORY / "results").glob("bench_*.json"))
TRAINING = {
    "images_per_s": {"plain fp32": spread([20.0, 22.0, 21.0]), "ours bf16": spread([60.0, 63.0])},
    "ratio": spread([3.0, 2.9, 3.1]),
}


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A result file as a benchmark writes it."""
    monkeypatch.setattr(sys, "argv", ["benchmarks/training_throughput.py", "data", "x y"])
    path = tmp_path / "bench_training.json"
    found = criterion("three times", 2.9999999, 3.0, at_most=False, note="a|b\nc")
    assert finish(path, short=False, criteria=[found], **TRAINING) in (0, 1)
    return path


def test_what_a_benchmark_writes_can_be_read(written: Path) -> None:
    file = read(written)
    assert file.command == "python benchmarks/training_throughput.py data 'x y'"
    assert file.cores >= 1
    (one,) = file.criteria
    # Rounded before it is judged: the file never contradicts itself.
    assert (one.value, one.met) == (3.0, True)


def broken(**changes: Any) -> dict[str, Any]:
    good = {"name": "a", "value": 1.0, "at_least": 2.0, "met": False}
    return {**good, **changes}


@pytest.mark.parametrize(
    "one",
    [
        broken(met=True),
        broken(at_most=3.0),
        broken(at_least=None),
        broken(value=None, met=True),
        broken(unknown=1),
    ],
)
def test_criteria_that_contradict_themselves_are_refused(one: dict[str, Any]) -> None:
    content = {
        "format": 1,
        "command": "c",
        "version": "0",
        "commit": "c",
        "short": False,
        "cores": 2,
        "seconds": 1.0,
    }
    BenchFile.model_validate(content | {"criteria": [broken()]})
    with pytest.raises(ValidationError):
        BenchFile.model_validate(content | {"criteria": [one]})


def test_a_spread_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="do not ascend"):
        Spread(median=3, min=1, max=2, rounds=3)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bench_floors.json"
    path.write_text('{"format": 1}')
    with pytest.raises(InvalidInputError, match=r"bench_floors\.json: command: Field required"):
        read(path)
    path.write_text("{")
    with pytest.raises(InvalidInputError, match="is not JSON"):
        read(path)
    page, _ = render(tmp_path, "images")
    assert "`bench_floors.json` cannot be read" in page


def test_what_was_not_measured_is_not_met() -> None:
    one = criterion("ahead", None, 1.5, at_most=False, note="not installed")
    assert not one["met"]
    assert verdict(one) == "NOT MET ahead: not measured >= 1.5 (not installed)"
    assert criterion("below", 0.5, 1.0, at_most=True)["met"]


def test_the_page_without_results_says_how_to_measure(tmp_path: Path) -> None:
    page, plots = render(tmp_path, "images")
    assert not plots
    assert page.count("Not measured yet") == len(PARTS)
    for part in PARTS:
        assert part.command in page
    assert "None has been measured yet" in page


def test_the_page_has_the_figures_their_spread_and_their_command(written: Path) -> None:
    page, _ = render(written.parent, "images", "Because of *that*.")
    plain = page.replace("\N{NO-BREAK SPACE}", " ")
    assert "3.00 (2.90 to 3.10)" in plain
    assert "python benchmarks/training_throughput.py data 'x y'" in page
    assert "| three times | 3.00 | ≥ 3 | met | Training | a\\|b c |" in plain
    assert "Because of *that*." in page
    assert page.count("Not measured yet") == len(PARTS) - 1


def test_a_short_run_is_no_figure(written: Path) -> None:
    content = json.loads(written.read_text())
    written.write_text(json.dumps(content | {"short": True}))
    assert "these are no figures" in render(written.parent, "images")[0]


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_committed_results_are_whole_runs(path: Path) -> None:
    content = json.loads(path.read_text())
    if "format" in content:  # two older benchmarks write another form
        assert not read(path).short


def test_the_committed_page_is_that_of_the_committed_results() -> None:
    remarks = REPOSITORY / "benchmarks" / "page" / "remarks.md"
    text = remarks.read_text() if remarks.exists() else ""
    page, plots = render(REPOSITORY / "results", "images", text)
    docs = REPOSITORY / "docs"
    assert (docs / "benchmarks.md").read_text() == page
    assert {path.name for path in (docs / "images").glob("bench_*.svg")} == set(plots)


def test_everything_that_is_run_has_a_part_and_a_program() -> None:
    assert list(NAMES) == [part.name for part in PARTS]
    for part in PARTS:
        for program in re.findall(r"benchmarks/\S+\.py", part.command):
            assert (REPOSITORY / program).is_file()


def test_a_family_holds_children_of_children() -> None:
    sleeper = "import sys; sys.stdin.read()"
    child = (
        "import subprocess, sys; "
        f"one = subprocess.Popen([sys.executable, '-c', {sleeper!r}]); "
        "print(one.pid, flush=True); one.wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        grandchild = int(process.stdout.readline())
        assert family_of(process.pid) == [process.pid, grandchild]
        process.communicate()  # the end of the input ends them both
