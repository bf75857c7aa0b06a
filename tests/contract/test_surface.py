# SPDX-License-Identifier: Apache-2.0
"""What people import: listed, lazy, and the same for each kind of link."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import genjscc
from genjscc import AsyncLink, Link, LocalLink

BLOCK_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is blocked", name=name)
sys.meta_path.insert(0, Blocked())
"""
HEAVY = ("torch", "safetensors", "pydantic", "pydantic_settings", "prometheus_client")


def run_without(blocked: tuple[str, ...], code: str) -> str:
    program = BLOCK_TORCH.format(blocked=blocked) + code
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_exports_are_listed_sorted_and_there() -> None:
    assert list(genjscc.__all__) == sorted(genjscc._HOMES)
    for name in genjscc.__all__:
        exported = getattr(genjscc, name)
        assert exported.__module__ == genjscc._HOMES[name]
    with pytest.raises(AttributeError, match="nonsense"):
        _ = genjscc.nonsense


def test_a_client_needs_neither_torch_nor_the_services_parts() -> None:
    code = """
import genjscc.client.link, genjscc.client.pipeline, genjscc.wire.images, genjscc.wire.codewords
from genjscc import AsyncLink, Link, Fading, LocalLink
from genjscc.errors import MissingExtraError
with Link() as link:
    assert link.addresses["channel"]
try:
    LocalLink()
except MissingExtraError as error:
    print("LocalLink" in str(error))
"""
    assert run_without((*HEAVY, "grpc_reflection"), code) == "True\n"


def test_looking_at_errors_loads_nothing_heavy() -> None:
    code = "import genjscc, genjscc.errors; print(genjscc.GenJSCCError.__name__)"
    assert run_without(("torch", "numpy", "grpc", "google", "PIL"), code) == "GenJSCCError\n"


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def parameters(function: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    signature = inspect.signature(function)
    return [(p.name, p.kind, p.annotation) for p in signature.parameters.values()]


def test_links_have_the_same_methods() -> None:
    sync, asynchronous, local = public(Link), public(AsyncLink), public(LocalLink)
    assert asynchronous - {"aclose"} == sync - {"close", "addresses"}
    assert local == sync - {"addresses"}
    assert hasattr(AsyncLink(), "addresses")
    for kind in (Link, LocalLink):
        assert hasattr(kind, "__enter__")
    assert hasattr(AsyncLink, "__aenter__")


@pytest.mark.parametrize("name", sorted(public(LocalLink) - {"close"}))
def test_links_have_the_same_signatures(name: str) -> None:
    sync = parameters(getattr(Link, name))
    assert parameters(getattr(AsyncLink, name)) == sync
    assert parameters(getattr(LocalLink, name)) == sync


def test_remote_links_are_constructed_alike() -> None:
    assert parameters(Link.__init__) == parameters(AsyncLink.__init__)
