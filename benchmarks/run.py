# SPDX-License-Identifier: Apache-2.0
"""Run the benchmarks one after another and report which criteria are met.

    python benchmarks/run.py [--short] [NAME ...]

On an otherwise idle machine: it says so where something else computes. Results are
results/bench_NAME.json; docs/benchmarks.md is written anew from them. With --short everything
runs for seconds, into a temporary folder: to see that it works, not for figures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

from benchmarks.common.harness import SHORT, verdict
from genjscc.repository import REPOSITORY

FACES = "data/faces64"
USUAL = ("floors", "peers", "numerics", "growth", "cost_model", "training", "inversion_time")
SERVING = tuple(f"serving_{name}" for name in ("cost", "hop", "echo", "overload", "kill", "soak"))
NAMES = (*USUAL, *SERVING)
_PROGRAMS = {"peers": "peers/compare"} | {name: name.replace("_", "/") for name in SERVING}


def command_of(name: str, *, short: bool, environments: str) -> list[str]:
    """Return the command of a benchmark, run from the repository's folder."""
    if name == "training":
        result = SHORT / "bench_training.json" if short else "results/bench_training.json"
        command = ["benchmarks/training_throughput.py", FACES, str(result)]
        return [*command, "--steps", "2", "--turns", "1"] if short else [*command, "--turns", "3"]
    command = [f"benchmarks/{_PROGRAMS.get(name, name)}.py", *(["--short"] if short else [])]
    return [*command, "--environments", environments] if name == "peers" else command


def why_not(name: str, environments: str) -> str:
    """Return what a benchmark needs but is missing; empty if nothing."""
    if name == "training" and not (REPOSITORY / FACES / "train").is_dir():
        return f"needs images in {FACES}/train and {FACES}/val"
    if name == "inversion_time" and not (REPOSITORY / FACES / "test").is_dir():
        return f"needs images in {FACES}/test"
    if name == "peers" and not (REPOSITORY / environments).is_dir():
        return f"needs python benchmarks/peers/install.py {environments}"
    return ""


def run(name: str, *, short: bool, environments: str) -> dict[str, Any]:
    """Run one benchmark to its end."""
    if missing := why_not(name, environments):
        return {"name": name, "problem": missing}
    words = command_of(name, short=short, environments=environments)
    print(f"== {name}: python {' '.join(words)}", flush=True)
    began = time.monotonic()
    done = subprocess.run([sys.executable, *words], cwd=REPOSITORY, check=False)
    minutes = (time.monotonic() - began) / 60
    path = (SHORT if short else REPOSITORY / "results") / f"bench_{name}.json"
    content = json.loads(path.read_text()) if path.exists() else None
    # Criteria that are not met are no failure of the run: its file is then newer than its start.
    fresh = content is not None and time.time() - path.stat().st_mtime < minutes * 60 + 1
    problem = "" if fresh else f"failed with exit code {done.returncode}"
    return {"name": name, "minutes": minutes, "content": content, "problem": problem}


def main() -> int:
    parser = argparse.ArgumentParser(description="benchmarks, one after the other")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"of {', '.join(NAMES)}; default: {', '.join(USUAL)}",
    )
    parser.add_argument("--short", action="store_true", help="seconds each: no figures")
    parser.add_argument("--environments", default=".peers", help="of the peers")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"NAME: got {', '.join(sorted(unknown))}; must be of {', '.join(NAMES)}")
    busy = os.getloadavg()[0]
    if busy > 0.3 and not arguments.short:
        print(f"warning: something else computes here (load {busy:.1f})", file=sys.stderr)
    done = [
        run(name, short=arguments.short, environments=arguments.environments)
        for name in arguments.names or USUAL
    ]
    page = [sys.executable, "benchmarks/page/build.py"]
    if arguments.short:
        page += ["--results", str(SHORT), "--output", str(SHORT / "benchmarks.md")]
    subprocess.run(page, cwd=REPOSITORY, check=True)
    print("\n== criteria")
    met = True
    for one in done:
        if one["problem"]:
            print(f"{one['name']}: NOT MEASURED: {one['problem']}")
            met = False
            continue
        print(f"{one['name']} ({one['minutes']:.1f} min)")
        for criterion in one["content"].get("criteria", []):
            print(f"  {verdict({k: v for k, v in criterion.items() if v is not None})}")
            met &= criterion["met"]
    return 0 if met or arguments.short else 1


if __name__ == "__main__":
    sys.exit(main())
