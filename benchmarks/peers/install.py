# SPDX-License-Identifier: Apache-2.0
"""Installation of the servers that the services are compared with.

    python benchmarks/peers/install.py [FOLDER]

Each gets a virtual environment below FOLDER (.peers): they would not all agree on versions, and
none of them belongs into ours. The environments see this one's packages, so that PyTorch is the
same and is not installed again. What fails is told and kept in FOLDER/NAME.error, which the
benchmark then reports.
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

ENVIRONMENTS = Path(".peers")
REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def requirements() -> dict[str, str]:
    """Pinned requirement of each peer by name."""
    lines = [line.strip() for line in REQUIREMENTS.read_text().splitlines()]
    wanted = [line for line in lines if line and not line.startswith("#")]
    return {re.split(r"[\[=]", line)[0]: line for line in wanted}


def python_of(environments: Path, name: str) -> Path:
    """Return the interpreter of a peer's environment."""
    return environments / name / "bin" / "python"


def install(environments: Path, name: str, requirement: str) -> str:
    """Create one environment; return the error, if any."""
    folder, python = environments / name, python_of(environments, name)
    commands = [
        [sys.executable, "-m", "venv", str(folder)],
        [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            requirement,
        ],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            return lines[-1] if lines else f"exit code {done.returncode}"
        ours = sysconfig.get_paths()["purelib"]
        found = subprocess.run(
            [str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
            capture_output=True,
            text=True,
            check=True,
        )
        # Last by name: what the peer needs in another version goes before ours.
        shared = Path(found.stdout.strip(), "zz_shared.pth")
        shared.write_text(f"import site; site.addsitedir({ours!r})\n")
    return ""


def main() -> int:
    environments = Path(sys.argv[1]) if len(sys.argv) > 1 else ENVIRONMENTS
    environments.mkdir(parents=True, exist_ok=True)
    failed = False
    for name, requirement in requirements().items():
        note = environments / f"{name}.error"
        note.unlink(missing_ok=True)
        if error := install(environments, name, requirement):
            note.write_text(f"{error}\n")
            failed = True
        print(f"{requirement}: {error or 'installed'}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
