# SPDX-License-Identifier: Apache-2.0
"""Rerun of the commands of result files: all of results/, or the given files.

    python scripts/results.py [results/NAME.json ...]

Each file stores its command; the data sets must be at the paths in it. Takes hours on a CPU.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def commands(paths: Sequence[Path]) -> dict[Path, list[str]]:
    """Return each file's `genjscc` arguments; files of other programs are left out."""
    found = {}
    for path in paths:
        content = json.loads(path.read_text())
        words = shlex.split(content.get("command", "")) if isinstance(content, dict) else []
        if words[:1] == ["genjscc"]:
            found[path] = words[1:]
    return found


def main(names: Sequence[str]) -> int:
    paths = [Path(name) for name in names] or sorted((REPOSITORY / "results").glob("*.json"))
    failed = []
    for path, arguments in commands(paths).items():
        print(f"{path}: genjscc {shlex.join(arguments)}", flush=True)
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "genjscc", *arguments, "--force"], cwd=REPOSITORY, check=False
        )
        if done.returncode:
            failed.append(path)
        print(f"{path}: {(time.monotonic() - started) / 60:.1f} min", flush=True)
    for path in failed:
        print(f"failed: {path}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
