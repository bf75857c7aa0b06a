# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from genjscc import InversionOptions, LocalLink
from genjscc.cli.inversion_options import inversion_of
from genjscc.cli.pictures import half_blocks
from genjscc.errors import InvalidInputError
from genjscc.repository import REPOSITORY
from tests.helpers.pictures import gradient
from tests.helpers.real_services import Services
from tests.helpers.tiny_bundles import SINGLE

PLAIN = ["perceptual_weight=0", "image_perceptual_weight=0", "steps=2,1", "seed=3"]


def test_pairs_become_options() -> None:
    assert inversion_of(None) is None
    given = ["preset=fast", "steps=50,0,25", "learning_rate=0.05", "seed=7", "betas=0.9,0.99"]
    assert inversion_of(given) == InversionOptions(
        preset="fast", steps=(50, 0, 25), learning_rate=0.05, seed=7, betas=(0.9, 0.99)
    )


@pytest.mark.parametrize(
    ("pair", "text"),
    [
        ("steps", "must be FIELD=VALUE"),
        ("speed=3", "got 'speed'; there are preset, generator"),
        ("steps=5,five", "--inversion steps: got '5,five'"),
        ("mse_weight=", "--inversion mse_weight: got ''"),
    ],
)
def test_wrong_pairs_are_named(pair: str, text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        inversion_of([pair])
    assert text in str(caught.value)


# textual-image calls what Pillow will rename.
@pytest.mark.filterwarnings("ignore:Image.Image.getdata:DeprecationWarning")
def test_a_preview_has_two_pixels_in_a_character() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:4, :, 0] = 255
    console = Console(force_terminal=True, color_system="truecolor", width=80, record=True)
    with console.capture() as captured:
        console.print(half_blocks(picture, columns=8))
    lines = captured.get().splitlines()
    assert [line.count("▀") for line in lines if "▀" in line] == [8, 8, 8, 8]
    assert "38;2;255;0;0" in lines[0]
    assert "38;2;0;0;0" in lines[3]
    with console.capture() as taller:
        console.print(half_blocks(gradient(64, 32), columns=16))
    assert taller.get().count("\n") == 16


def test_send_shows_progress_and_saves_the_image(
    services: Services, bundles: Path, tmp_path: Path
) -> None:
    photo = tmp_path / "face.png"
    Image.fromarray(gradient(64, 64)).save(photo)
    options = [part for pair in PLAIN for part in ("--inversion", pair)]
    where = [part for role, at in services.addresses.items() for part in (f"--{role}", at)]
    given = ["--scheme", "inverse", "--model", SINGLE, "--snr-db", "3", "--seed", "1"]
    output = ["-o", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "genjscc", "send", str(photo), *given, *options, *where, *output],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
        env={**os.environ, "COLUMNS": "160", "FORCE_COLOR": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "stage 2" in done.stderr
    assert "▀" in done.stderr
    assert "face.png" in done.stdout
    expected = LocalLink(bundles=bundles).send(
        photo, model=SINGLE, scheme="inverse", snr_db=3, seed=1, inversion=inversion_of(PLAIN)
    )
    with Image.open(tmp_path / "out" / f"face_{SINGLE}_inverse_1-192_3dB.png") as saved:
        difference = np.abs(np.asarray(saved).astype(int) - expected.image)
    assert difference.max() <= 1
