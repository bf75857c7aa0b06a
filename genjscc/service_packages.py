# SPDX-License-Identifier: Apache-2.0
"""Packages of the services: beside genjscc in a clone, inside it in the wheel.

`genjscc.channel.physics` and so on can be imported in both. In a clone the name stands for
`channel.physics`, the same module.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

ROLES = ("transmitter", "channel", "receiver")
_INSIDE = Path(__file__).resolve().parent
_PREFIX = "genjscc."


def service_package(role: str) -> str:
    """Return the name of a service's package, as `python -m` needs it."""
    return _PREFIX + role if (_INSIDE / role).is_dir() else role


def find_services_in_clone() -> None:
    """Make `genjscc.transmitter` and so on importable in a clone."""
    if not any(isinstance(finder, _CloneFinder) for finder in sys.meta_path):
        # Before Python's own, which would load `channel/physics.py` a second time.
        sys.meta_path.insert(0, _CloneFinder())


class _CloneFinder(MetaPathFinder, Loader):
    """Find `genjscc.ROLE` beside the package."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 (Python passes it)
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        role = fullname.removeprefix(_PREFIX).partition(".")[0]
        if not fullname.startswith(_PREFIX) or role not in ROLES:
            return None
        if (_INSIDE / role).is_dir() or not (_INSIDE.parent / role / "__init__.py").is_file():
            return None
        return ModuleSpec(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(spec.name.removeprefix(_PREFIX))
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The module keeps its first name: two specs would be two modules to reload and pickle.
        if module.__spec__ is not None:
            module.__spec__ = module.__spec__.loader_state
