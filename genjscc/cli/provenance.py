# SPDX-License-Identifier: Apache-2.0
"""Provenance of a result file: command, version, commit."""

from __future__ import annotations

import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict

from genjscc.repository import REPOSITORY


class Origin(TypedDict):
    """The fields of a result file on its provenance."""

    command: str
    version: str
    commit: str


def origin() -> Origin:
    """Return the provenance of this process. Call it at the start: the files may change later."""
    # Whether something was in the way is no part of it.
    command = shlex.join(["genjscc", *(word for word in sys.argv[1:] if word != "--force")])
    return Origin(command=command, version=version("genjscc"), commit=current_commit())


# What commands write; it does not change what the next one finds.
_WRITTEN = (":(exclude)results", ":(exclude)docs")


def current_commit(repository: Path = REPOSITORY) -> str:
    """Return the repository's commit, with '+' if files beside results and docs differ."""
    try:
        commit = _git(repository, "describe", "--always", "--exclude=*")
        changed = _git(repository, "status", "--porcelain", "-uno", "--", ".", *_WRITTEN)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}+" if changed else commit


def _git(repository: Path, *arguments: str) -> str:
    found = subprocess.run(  # noqa: S603
        ["git", "-C", str(repository), *arguments],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.strip()
