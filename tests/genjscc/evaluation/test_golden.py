# SPDX-License-Identifier: Apache-2.0
"""The models that ship give the committed PSNR, in this version of PyTorch too."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from genjscc.evaluation.golden import golden_outputs
from genjscc.repository import REPOSITORY


def test_golden_outputs() -> None:
    models = REPOSITORY / "models"
    expected = json.loads((models / "golden.json").read_text())["outputs"]
    found = [asdict(one) for one in golden_outputs(models)]
    assert [one["model"] for one in expected] == [one["model"] for one in found]
    for old, new in zip(expected, found, strict=True):
        assert new.pop("psnr_db") == pytest.approx(old.pop("psnr_db"), abs=0.01), old
        assert new == old
