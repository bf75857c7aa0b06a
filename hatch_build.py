# SPDX-License-Identifier: Apache-2.0
"""Build hook: put the three services and the small models into the wheel.

In the repository `transmitter`, `channel` and `receiver` are folders beside `genjscc`. Such names
would collide with other packages of an environment, so the wheel holds them as
`genjscc.transmitter`, `genjscc.channel` and `genjscc.receiver`, and its files import them by these
names. A tree without the three folders (the build of the containers) gives a wheel of `genjscc`
as it is.

GENJSCC_WHEEL_MODELS names the bundles of `models/` that the wheel holds, with commas; empty: none.
"""

from __future__ import annotations

import ast
import os
import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SERVICES = ("transmitter", "channel", "receiver")
MODELS = "faces64,natural64"


class ServicesHook(BuildHookInterface):  # type: ignore[type-arg]
    """Map the services' folders into the package; see the module."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Choose the files of the wheel before it is written."""
        root = Path(self.root)
        if version == "editable" or not all((root / name).is_dir() for name in SERVICES):
            return
        self._written = Path(mkdtemp(prefix="genjscc-wheel-"))
        files: dict[str, str] = build_data["force_include"]
        for folder in ("genjscc", *SERVICES):
            for path in sorted((root / folder).rglob("*.py")):
                inside = path.relative_to(root).as_posix()
                target = inside if folder == "genjscc" else f"genjscc/{inside}"
                source = path.read_text(encoding="utf-8")
                mapped = with_mapped_imports(source, inside)
                if target == inside and mapped == source:
                    continue
                written = self._written / inside
                written.parent.mkdir(parents=True, exist_ok=True)
                written.write_text(mapped, encoding="utf-8")
                files[str(written)] = target
        for name in filter(None, os.environ.get("GENJSCC_WHEEL_MODELS", MODELS).split(",")):
            files[str(root / "models" / name)] = f"genjscc/models/{name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what `initialize` wrote."""
        if hasattr(self, "_written"):
            shutil.rmtree(self._written, ignore_errors=True)


def with_mapped_imports(source: str, name: str) -> str:
    """Return a module's source with the services imported as parts of genjscc.

    Args:
        source: the module's text.
        name: of the file, for the error.

    Raises:
        ValueError: an import has a form that cannot be mapped.
    """
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and _is_service(node.module or ""):
            before, old = "from ", str(node.module)
        elif isinstance(node, ast.Import) and any(_is_service(one.name) for one in node.names):
            if len(node.names) > 1 or node.names[0].asname is None:
                raise ValueError(f"{name}:{node.lineno}: must be `import NAME as OTHER` or `from`")
            before, old = "import ", node.names[0].name
        else:
            continue
        line = lines[node.lineno - 1]
        start = node.col_offset
        if not line[start:].startswith(before + old):
            raise ValueError(f"{name}:{node.lineno}: got {line.strip()!r}; must have single spaces")
        lines[node.lineno - 1] = f"{line[:start]}{before}genjscc.{line[start + len(before) :]}"
    return "".join(lines)


def _is_service(module: str) -> bool:
    return module.partition(".")[0] in SERVICES
