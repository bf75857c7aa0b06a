# SPDX-License-Identifier: Apache-2.0
"""One Compose project for the tests with an engine, and the figures that they collect."""

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
    """Figures for the end of the run: what they are of, and what they are."""

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
    """The folder that the jobs write into."""
    return tmp_path_factory.mktemp("output")


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the models that ship: whatever happens to those meanwhile, it stays."""
    folder = tmp_path_factory.mktemp("shipped") / "models"
    shutil.copytree(REPOSITORY / "models", folder)
    folder.chmod(0o755)  # for the user of the containers
    return folder


@pytest.fixture(scope="session")
def project(log: Log, output: Path, shipped: Path) -> Iterator[Project]:
    """The project, built and running on free ports; its end is a test's own."""
    try:
        folders = {"OUTPUT": str(output), "BUNDLES": str(shipped)}
        made = Project(NAME, settings={**free_ports_settings(), **folders})
    except GenJSCCError as error:
        pytest.skip(str(error))
    made.down(volumes=True)  # of a run that was broken off
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
