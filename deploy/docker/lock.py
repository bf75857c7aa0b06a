# SPDX-License-Identifier: Apache-2.0
"""Writes deploy/docker/requirements: the exact packages of the images, with their hashes.

python deploy/docker/lock.py [--upgrade]

models-cuda.txt is complete. models-cpu.txt leaves out torch, whose CPU build has another index,
and what only the CUDA build needs; torch.txt pins the version of both, by hand.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent / "requirements"
EVERYTHING = FOLDER / "models-cuda.txt"
# What the command line alone needs; the services have none.
COMMAND_LINE = [
    *("annotated-doc", "markdown-it-py", "mdurl", "pygments", "rich", "shellingham"),
    *("textual-image", "typer"),
]
PYTHON, PLATFORM = "3.11", "x86_64-manylinux_2_28"


def compile_lock(name: str, *arguments: str, leave_out: Iterable[str] = ()) -> None:
    """One lock file; a version that it has stays, unless --upgrade is given."""
    target = FOLDER / f"{name}.txt"
    command = ["uv", "pip", "compile", *arguments, "--output-file", str(target)]
    command += ["--python-version", PYTHON, "--python-platform", PLATFORM]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "--quiet"]
    for package in leave_out:
        command += ["--no-emit-package", package]
    # All images take the same versions.
    other = FOLDER / "torch.txt" if target == EVERYTHING else EVERYTHING
    command += ["--constraint", str(other), *sys.argv[1:]]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def cuda_packages() -> list[str]:
    """The packages that the CUDA build of torch needs beyond the CPU build."""
    return re.findall(r"^(?:nvidia-[\w-]+|cuda-[\w-]+|triton)(?===)", EVERYTHING.read_text(), re.M)


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    models = extras("inverse", "tracing")
    compile_lock("models-cuda", *models, leave_out=COMMAND_LINE)
    compile_lock("models-cpu", *models, leave_out=[*COMMAND_LINE, "torch", *cuda_packages()])
    web = extras("web", "tracing")
    compile_lock("web", *web, leave_out=["torch", *cuda_packages()])
    # Symbols are no images.
    compile_lock("channel", *extras("channel", "tracing"), leave_out=[*COMMAND_LINE, "pillow"])
    compile_lock("client", *extras("load", "tracing"))
    source = FOLDER / "build.in"
    source.write_text("\n".join(project["build-system"]["requires"]) + "\n")
    compile_lock("build", str(source))
    source.unlink()


def extras(*names: str) -> tuple[str, ...]:
    return ("pyproject.toml", *(f"--extra={name}" for name in names))


if __name__ == "__main__":
    main()
