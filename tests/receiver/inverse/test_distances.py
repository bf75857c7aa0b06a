# SPDX-License-Identifier: Apache-2.0
"""No request makes the receiver fetch anything."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from genjscc.errors import UnsupportedError
from receiver.inverse.distances import Distances


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))


@pytest.mark.parametrize("name", ["lpips-alex", "lpips-vgg", "lpips-squeeze"])
def test_a_network_that_is_not_here_is_refused_by_name(name: Any, tmp_path: Path) -> None:
    distances = Distances(torch.device("cpu"))
    with pytest.raises(UnsupportedError, match=f"inversion.perceptual: got '{name}'"):
        distances.get(name)
    # Nor is a file believed that has another content than its name says.
    (tmp_path / "checkpoints").mkdir()
    for file in ("alexnet-owt-7be5be79.pth", "vgg16-397923af.pth", "squeezenet1_1-b8a52dc0.pth"):
        (tmp_path / "checkpoints" / file).write_bytes(b"nothing")
    with pytest.raises(UnsupportedError, match=f"inversion.perceptual: got '{name}'"):
        distances.get(name)


def test_after_the_start_nothing_more_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def perceptual(name: str) -> torch.nn.Module:
        loaded.append(name)
        return torch.nn.Identity()

    monkeypatch.setattr("receiver.inverse.distances.perceptual", perceptual)
    monkeypatch.setattr("receiver.inverse.distances.with_fast_backward", lambda network: network)
    distances = Distances(torch.device("cpu"))
    distances.load_all()
    assert loaded == ["st-lpips-alex", "st-lpips-vgg"]
    distances.get("st-lpips-vgg")
    with pytest.raises(UnsupportedError, match="loaded there: st-lpips-alex, st-lpips-vgg"):
        distances.get("lpips-vgg")
    assert len(loaded) == 2
