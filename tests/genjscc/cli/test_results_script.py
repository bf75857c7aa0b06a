# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from genjscc.repository import REPOSITORY


def run(*paths: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: PLW1510 (the test looks at the exit code)
        [sys.executable, str(REPOSITORY / "scripts" / "results.py"), *map(str, paths)],
        capture_output=True,
        text=True,
    )


def test_commands_of_result_files_run_again_and_a_failure_is_told(tmp_path: Path) -> None:
    files = {
        "a.json": {"command": "genjscc evaluate --help"},
        "b.json": {"command": "genjscc evaluate 'no such folder' x.json --num 2"},
        "c.json": {"command": "python benchmarks/else.py"},
        "d.json": [1, 2],
    }
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    outcome = run(*sorted(tmp_path.glob("*.json")))
    assert outcome.returncode == 1
    assert "Measure models over bandwidth ratios" in outcome.stdout
    assert "no such folder is not a folder" in outcome.stderr
    assert f"failed: {tmp_path / 'b.json'}" in outcome.stderr
    for name in ("a.json", "c.json", "d.json"):
        assert f"failed: {tmp_path / name}" not in outcome.stderr
    assert "else.py" not in outcome.stdout
