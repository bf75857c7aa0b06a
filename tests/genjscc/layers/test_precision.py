# SPDX-License-Identifier: Apache-2.0
"""The precision is what the processor is good at, and chosen in one place."""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from genjscc import diagnosis
from genjscc.layers import precision
from genjscc.layers.precision import arithmetic, has_bfloat16, training_precision
from genjscc.serving.catalogue import Catalogue
from genjscc.serving.settings import TransmitterSettings
from receiver.inverse.config import PRESETS
from transmitter.models import load_encoder

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(params=[True, False], ids=["native", "by conversion"])
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    """A processor with bfloat16 instructions, and an AVX-512 one without."""
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(precision.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: request.param)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    has_bfloat16.cache_clear()
    yield request.param
    has_bfloat16.cache_clear()


def test_auto_is_bfloat16_where_it_is_native(native: bool, bundles: Path) -> None:
    assert training_precision("auto", "cpu") == ("bf16-mixed" if native else "32-true")
    assert training_precision("16-mixed", "cpu") == "16-mixed"
    wanted = torch.bfloat16 if native else torch.float32
    assert arithmetic("auto", "cpu") == wanted
    assert arithmetic("float32", "cpu") == torch.float32
    settings = TransmitterSettings(bundles=bundles, dtype="auto")
    with Catalogue(settings, load_encoder).precision():
        assert torch.is_autocast_enabled("cpu") == native
    assert PRESETS["fast"].dtype == "auto"
    (shown,) = (one.found for one in diagnosis.devices() if one.name == "precision")
    assert ("native" in shown, "no native" in shown) == (True, not native)


def test_bfloat16_where_it_is_slow_is_said(native: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert arithmetic("bfloat16", "cpu") == torch.bfloat16
    assert ("slower than float32" in caplog.text) is not native


def test_processors_without_vectors_for_it_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    has_bfloat16.cache_clear()
    assert not has_bfloat16("cpu")
    has_bfloat16.cache_clear()
    assert not has_bfloat16("meta")


def test_nobody_else_chooses() -> None:
    """Defaults and presets are "auto" or float32; measures of FD and steps of Muon fix bfloat16."""
    chosen = {
        str(path.relative_to(ROOT))
        for folder in ("genjscc", "receiver", "transmitter", "channel")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "bfloat16"
    }
    assert chosen <= {
        "genjscc/layers/precision.py",
        "genjscc/quality/frechet.py",
        "genjscc/training/muon.py",
    }
    for path in (ROOT / "genjscc").rglob("*.py"):
        if path.name != "precision.py":
            assert '= "bf16-mixed"' not in path.read_text(), path
