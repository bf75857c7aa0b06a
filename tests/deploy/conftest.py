# SPDX-License-Identifier: Apache-2.0
"""Compose project of the tests with an engine, and the timings that they collect."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from genjscc.errors import GenJSCCError
from genjscc.launch.containers import Project, free_ports_settings
from genjscc.repository import REPOSITORY

NAME = "genjscc-test"
FIGURES: list[str] = []


class Log:
    """A log of named values for the end of the run."""

    def figure(self, name: str, value: object) -> None:
        FIGURES.append(f"{name:<48} {value}")

    def timed(self, name: str, started: float) -> None:
        self.figure(name, f"{time.monotonic() - started:.1f} s")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FIGURES:
        terminalreporter.section("figures")
        for line in FIGURES:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def log() -> Log:
    return Log()


@pytest.fixture(scope="session")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that the jobs write into."""
    return tmp_path_factory.mktemp("output")


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the shipped models, so that later changes to them do not matter."""
    folder = tmp_path_factory.mktemp("shipped") / "models"
    shutil.copytree(REPOSITORY / "models", folder)
    folder.chmod(0o755)  # for the user of the containers
    return folder


@pytest.fixture(scope="session")
def project(log: Log, output: Path, shipped: Path) -> Iterator[Project]:
    """Build and start the project on free ports; a test of its own stops it."""
    try:
        folders = {"OUTPUT": str(output), "BUNDLES": str(shipped)}
        made = Project(NAME, settings={**free_ports_settings(), **folders})
    except GenJSCCError as error:
        pytest.skip(str(error))
    made.down(volumes=True)  # left over from an aborted run
    started = time.monotonic()
    made.build()
    log.timed("build", started)
    started = time.monotonic()
    try:
        made.up()
        log.timed("from up to healthy", started)
        yield made
    finally:
        made.down(volumes=True)
