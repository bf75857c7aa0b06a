# SPDX-License-Identifier: Apache-2.0
"""Two processes train what one trains: batches, sums, stages and validations are theirs together.

Both schemes run in the same two processes, because importing PyTorch takes longer than the steps.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml

from genjscc.repository import REPOSITORY
from genjscc.training import deepjscc, generative
from receiver.stylegan2.checkpoints import save_bundle
from tests.helpers.photo_folders import write_photos
from tests.helpers.tiny_bundles import GENERATOR, tiny_face_generator
from tests.helpers.tiny_trainings import one_process, tiny_deepjscc, tiny_generative

# As `genjscc train SCHEME run.yaml FOLDER --devices 2 --set batch_size=2`.
PROGRAM = """
import sys
from pathlib import Path

from genjscc.cli.commands.train import SCHEMES, launch
from genjscc.training.config import load_config

fabric = launch(2, "cpu", "32-true", 1)
for name in ("deepjscc", "generative"):
    kind, fit = SCHEMES[name].load()
    run = Path(sys.argv[1]) / name
    fit(load_config(kind, run.with_suffix(".yaml"), {"batch_size": 2}), run, fabric)
"""


def curve(folder: Path) -> list[float]:
    with (folder / "validation.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_two_processes_have_the_loss_curve_of_one(tmp_path: Path) -> None:
    photos, alone, shared = (tmp_path / name for name in ("photos", "alone", "shared"))
    write_photos(photos / "train", 12, (64, 64))
    write_photos(photos / "val", 4, (64, 64))
    save_bundle(tiny_face_generator(), photos / GENERATOR, "# tiny\n")
    configs = {
        # Muon shares its work out among the processes.
        "deepjscc": tiny_deepjscc(photos, width=16, muon_learning_rate=0.01),
        "generative": tiny_generative(
            photos, batch_size=4, stage1_images=4, stage2_images=8, validate_every=4
        ),
    }
    deepjscc.fit(configs["deepjscc"], alone / "deepjscc", one_process())
    generative.fit(configs["generative"], alone / "generative", one_process())
    shared.mkdir()
    for name, config in configs.items():
        text = yaml.safe_dump(config.model_dump(mode="json"))
        (shared / f"{name}.yaml").write_text(text)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    subprocess.run(
        [sys.executable, str(program), str(shared)],
        check=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    for name, validations in (("deepjscc", 2), ("generative", 3)):
        expected = curve(alone / name)
        assert len(expected) == validations
        np.testing.assert_allclose(curve(shared / name), expected, rtol=1e-4)
