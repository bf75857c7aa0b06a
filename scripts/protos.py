# SPDX-License-Identifier: Apache-2.0
"""Generator of genjscc/v1 from protos/, with a check that the files are up to date.

python scripts/protos.py           write
python scripts/protos.py --check   exit 1 and name the files that differ
"""

from __future__ import annotations

import os
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
GENERATED = Path("genjscc", "v1")


def generate(target: Path) -> None:
    # protoc finds its plugins on the path; they are installed next to this Python.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    sources = sorted(PROTOS.rglob("*.proto"))
    services = [source for source in sources if "\nservice " in source.read_text()]
    run_protoc(sources, {"python": str(target), "mypy": f"quiet:{target}"})
    run_protoc(services, {"grpc_python": str(target), "mypy_grpc": f"quiet:{target}"})
    (target / GENERATED / "__init__.py").write_text(
        '# SPDX-License-Identifier: Apache-2.0\n"""Generated from protos/ by `make protos`."""\n'
    )


def run_protoc(sources: list[Path], outputs: dict[str, str]) -> None:
    google = resources.files("grpc_tools") / "_proto"
    options = [f"--{plugin}_out={where}" for plugin, where in outputs.items()]
    names = [str(source.relative_to(PROTOS)) for source in sources]
    code = protoc.main(["protoc", f"-I{PROTOS}", f"-I{google}", *options, *names])
    if code:
        sys.exit(code)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.glob("*.py*") if p.is_file()}


def differing() -> list[str]:
    """Return the names of generated files that differ from the output for protos/."""
    with tempfile.TemporaryDirectory() as temporary:
        generate(Path(temporary))
        fresh = contents(Path(temporary) / GENERATED)
    committed = contents(ROOT / GENERATED)
    return sorted(n for n in fresh | committed if fresh.get(n) != committed.get(n))


def main() -> None:
    if "--check" in sys.argv[1:]:
        stale = differing()
        if stale:
            sys.exit(f"not what protos/ gives: {', '.join(stale)}. Run `make protos`.")
        return
    for old in (ROOT / GENERATED).glob("*_pb2*.py*"):
        old.unlink()
    generate(ROOT)


if __name__ == "__main__":
    main()
