# SPDX-License-Identifier: Apache-2.0
"""What `pip install genjscc` alone brings is enough for the SDK and the command line."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution

from genjscc.repository import REPOSITORY

# Finds no module but those of the named packages, of this repository and of Python itself.
SCRIPT = """
import sys
from importlib.machinery import PathFinder

ALLOWED = set(sys.argv.pop().split(","))
find = PathFinder.find_spec

def find_spec(name, path=None, target=None):
    found = find(name, path, target)
    foreign = found is not None and "site-packages" in str(found.origin or found.loader)
    return None if foreign and name.split(".")[0] not in ALLOWED else found

PathFinder.find_spec = find_spec
from genjscc.cli import main
from genjscc import AsyncLink, Link
Link().close()
for arguments in (["--help"], ["send", "--help"], ["loadtest", "--help"]):
    sys.argv[1:] = arguments
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code
"""


def packages() -> set[str]:
    """Import names of what the project depends on without extras."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    todo, seen, names = list(project["dependencies"]), set(), set()
    while todo:
        text = todo.pop()
        name = re.match(r"[\w.-]+", text)[0]
        if name in seen or "extra ==" in text:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except ModuleNotFoundError:  # for another system or Python
            continue
        names |= {file.parts[0].removesuffix(".py") for file in found.files or []}
        todo += found.requires or []
    return names


def test_the_command_line_starts() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, ",".join(packages())],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage") == 3
