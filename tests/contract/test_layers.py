# SPDX-License-Identifier: Apache-2.0
"""Who may import whom. The order is that of docs/architecture.md."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# From the ground up; a module may import its own layer and those below.
LAYERS: list[tuple[str, ...]] = [
    (
        *("genjscc.addresses", "genjscc.display", "genjscc.environment", "genjscc.repository"),
        *("genjscc.conventions", "genjscc.service_packages"),
        *("genjscc.v1", "genjscc.errors", "genjscc.limits", "genjscc.wire", "genjscc.layers"),
        *("genjscc.pixels", "genjscc.photos", "genjscc.bundles", "genjscc.serving"),
        *("genjscc.client", "genjscc.quality"),
    ),
    ("channel",),
    ("transmitter",),
    ("receiver",),
    ("channel.service", "transmitter.service", "receiver.service"),
    ("genjscc.client.local", "genjscc.training", "genjscc.evaluation"),
    ("genjscc",),  # the command line, the lazy public names, and what else people start
    ("channel.__main__", "transmitter.__main__", "receiver.__main__"),
]
FOLDERS = ("genjscc", "channel", "transmitter", "receiver")
SERVICE_USERS = {"channel.__main__", "transmitter.__main__", "receiver.__main__"} | {
    "genjscc.client.local"
}
TORCH_FREE = (
    *("genjscc.wire", "genjscc.errors", "genjscc.limits", "genjscc.serving.settings"),
    "channel",
)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {
    module_name(path): path
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "_pb2" not in path.name
}


def layer(module: str) -> int:
    """Of the longest prefix."""
    matches = [
        (len(prefix), number)
        for number, prefixes in enumerate(LAYERS)
        for prefix in prefixes
        if module == prefix or module.startswith(prefix + ".")
    ]
    return max(matches)[1]


def imports(path: Path) -> set[str]:
    """Full names of what a file imports at its top level or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            base = str(node.module)
            submodules = {f"{base}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= submodules or {base}
    return found


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_down(module: str) -> None:
    if module == "genjscc":
        return  # its imports are for type checkers, and lazy
    for target in imports(MODULES[module]):
        if target.split(".")[0] in FOLDERS and target != "genjscc":
            assert layer(target) <= layer(module), f"{module} imports {target}"
        if target.endswith(".service") and target.split(".")[0] in FOLDERS:
            assert module in SERVICE_USERS, f"{module} imports {target}"
        if module.startswith(TORCH_FREE) and module != "channel.backends":
            assert target.split(".")[0] not in ("torch", "safetensors"), module


def test_the_receiver_needs_neither_training_nor_evaluation() -> None:
    for module, path in MODULES.items():
        if module.startswith("receiver"):
            for target in imports(path):
                assert not target.startswith(("genjscc.training", "genjscc.evaluation")), module


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports inside functions and for type checkers count as well."""
    targets = {
        module: (imports(path) & MODULES.keys()) - {module, "genjscc"}
        for module, path in MODULES.items()
        if module != "genjscc"
    }
    try:
        tuple(TopologicalSorter(targets).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_rule_sees_the_code() -> None:
    assert "channel.service" in imports(MODULES["genjscc.client.local"])
    assert "channel.physics" in imports(MODULES["transmitter.encoder"])
    assert layer("channel.physics") < layer("transmitter.encoder") < layer("receiver.deepjscc")
    assert layer("receiver.deepjscc") < layer("channel.service") < layer("genjscc.client.local")
    assert layer("genjscc.client.aio") < layer("channel.physics")
