# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from genjscc.bundles.store import find_bundles
from genjscc.errors import BundleError
from receiver.models import Generators
from receiver.stylegan2.checkpoints import save_bundle
from tests.helpers.tiny_bundles import SINGLE, write_tiny
from tests.helpers.tiny_generators import tiny_generator


@pytest.fixture
def root(tmp_path: Path) -> Path:
    save_bundle(tiny_generator(), tmp_path / "faces", "")
    return tmp_path


def test_a_generator_is_loaded_once_and_frozen(root: Path) -> None:
    generators = Generators(root)
    first = generators.load("faces")
    assert generators.load("faces") is first
    assert not any(parameter.requires_grad for parameter in first.parameters())
    assert not first.training


def test_another_generator_than_the_one_of_the_training_is_refused(root: Path) -> None:
    declared = save_bundle(tiny_generator(), root / "faces", "").files["generator.safetensors"]
    generators = Generators(root)
    assert generators.load("faces", declared) is generators.load("faces")
    with pytest.raises(BundleError, match=f"{declared}, needed is {'0' * 64}"):
        generators.load("faces", "0" * 64)
    with pytest.raises(BundleError, match=r"gone.config\.json: No such file"):
        generators.load("gone")


def test_a_generator_among_pairs_is_no_pair(root: Path) -> None:
    with pytest.raises(BundleError, match="no bundle"):
        find_bundles(root)
    write_tiny(root, SINGLE)
    assert list(find_bundles(root)) == [SINGLE]
