# SPDX-License-Identifier: Apache-2.0
"""Programs that check the files of deploy/."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"


def tool(name: str, comes_with: str) -> str:
    """Find a program next to this Python or on the path; skip the test without it."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; it comes with {comes_with}")
    return found


def run(name: str, *arguments: str | Path, comes_with: str = "the deploy extra") -> str:
    """Run a program and return its standard output; fail the test if its exit code is not 0."""
    done = subprocess.run(
        [tool(name, comes_with), *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def promtool(*arguments: str | Path) -> str:
    return run("promtool", *arguments, comes_with="Prometheus")


def documented_queries() -> list[str]:
    """Return the worked examples of docs/operations.md."""
    text = (REPOSITORY / "docs" / "operations.md").read_text()
    table = text.partition("| question | PromQL |")[2].partition("\n\n")[0]
    cells = [line.rpartition("| `")[2] for line in table.splitlines() if "| `" in line]
    return [cell.rpartition("` |")[0].replace("\\|", "|") for cell in cells]
