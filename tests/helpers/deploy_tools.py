# SPDX-License-Identifier: Apache-2.0
"""Programs that check files and services: of the dev extra, or of the machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"


def tool(name: str) -> str:
    """Find a program of the dev extra, next to this Python or on the path; fail without it."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    assert found, f"{name} is not installed; it comes with the dev extra"
    return found


def system_tool(name: str, comes_with: str) -> str:
    """Find a program that pip does not install; skip the test without it."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; it comes with {comes_with}")
    return found


def run(name: str, *arguments: str | Path) -> str:
    """Run a program of the dev extra; return its output, and fail if its exit code is not 0."""
    return output_of(tool(name), *arguments)


def promtool(*arguments: str | Path, stdin: str = "") -> str:
    """As `run`, for the program that checks what Prometheus reads."""
    return output_of(system_tool("promtool", "Prometheus"), *arguments, stdin=stdin)


def output_of(program: str, *arguments: str | Path, stdin: str = "") -> str:
    """Run a program and return its standard output; fail the test if its exit code is not 0."""
    done = subprocess.run(
        [program, *map(str, arguments)],
        cwd=REPOSITORY,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def documented_queries() -> list[str]:
    """Return the worked examples of docs/operations.md."""
    text = (REPOSITORY / "docs" / "operations.md").read_text()
    table = text.partition("| question | PromQL |")[2].partition("\n\n")[0]
    cells = [line.rpartition("| `")[2] for line in table.splitlines() if "| `" in line]
    return [cell.rpartition("` |")[0].replace("\\|", "|") for cell in cells]
