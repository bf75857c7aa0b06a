# SPDX-License-Identifier: Apache-2.0
"""Results say from which files they were made."""

from __future__ import annotations

import subprocess
from pathlib import Path

from genjscc.cli.provenance import current_commit


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True)


def test_a_commit_is_marked_where_files_differ_from_it_but_not_by_what_commands_write(
    tmp_path: Path,
) -> None:
    assert current_commit(tmp_path) == "unknown"
    (tmp_path / "results").mkdir()
    code, result = tmp_path / "code.py", tmp_path / "results" / "one.json"
    code.write_text("1\n")
    result.write_text("{}\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    commit = current_commit(tmp_path)
    assert 7 <= len(commit) <= 40
    assert int(commit, 16)
    result.write_text("[]\n")
    assert current_commit(tmp_path) == commit
    code.write_text("2\n")
    assert current_commit(tmp_path) == f"{commit}+"
