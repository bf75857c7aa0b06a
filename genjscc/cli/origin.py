# SPDX-License-Identifier: Apache-2.0
"""Where a result file comes from: command, version, commit."""

from __future__ import annotations

import shlex
import subprocess
import sys
from importlib.metadata import version
from typing import TypedDict

from genjscc.repository import REPOSITORY


class Origin(TypedDict):
    """The fields of a result file that say how it was made."""

    command: str
    version: str
    commit: str


def origin() -> Origin:
    """Of this process; to be asked for at its start, since the files may change meanwhile."""
    command = shlex.join(["genjscc", *sys.argv[1:]])
    return Origin(command=command, version=version("genjscc"), commit=current_commit())


def current_commit() -> str:
    """The repository's commit, with '+' where files differ from it."""
    try:
        described = subprocess.run(  # noqa: S603
            ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty=+", "--exclude=*"],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()
