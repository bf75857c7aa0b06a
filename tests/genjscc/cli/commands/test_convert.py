# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from genjscc.cli.commands.convert import convert
from genjscc.errors import BundleError
from receiver.stylegan2.checkpoints import load_generator
from tests.helpers.tiny_generators import basicsr_names, tiny_generator


def run(checkpoint: Path, folder: Path) -> None:
    convert(checkpoint, folder, licence="none", domain="noise")


@pytest.mark.parametrize("key", ["g_ema", "params_ema"])
def test_a_checkpoint_becomes_a_bundle_that_computes_the_same(tmp_path: Path, key: str) -> None:
    generator = tiny_generator()
    state = generator.state_dict()
    names = basicsr_names(state) if key == "params_ema" else state
    torch.save({key: names, "latent_avg": torch.zeros(16)}, tmp_path / "g.pt")
    run(tmp_path / "g.pt", tmp_path / "bundle")
    loaded = load_generator(tmp_path / "bundle")
    z = torch.randn(2, 16)
    with torch.no_grad():
        expected, found = (g.synthesis(g.mapping(z)) for g in (generator.eval(), loaded))
    assert (found - expected).abs().max() < 0.05 * expected.std()  # float16 weights
    assert "Licence: none" in (tmp_path / "bundle" / "card.md").read_text()


def test_a_file_that_would_execute_code_is_refused_and_does_not(tmp_path: Path) -> None:
    target = tmp_path / "created"

    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[str, int]]:
            return os.open, (str(target), os.O_CREAT)

    checkpoint = tmp_path / "network.pkl"
    checkpoint.write_bytes(pickle.dumps({"g_ema": Malicious()}))
    with pytest.raises(BundleError, match="would execute code"):
        run(checkpoint, tmp_path / "bundle")
    assert not target.exists()
    assert not (tmp_path / "bundle").exists()
