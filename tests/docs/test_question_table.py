# SPDX-License-Identifier: Apache-2.0
"""README's table of questions and the gallery: each command runs, and answers.

Where a command measures for minutes, or trains for hours, `SHORTENED` has the options that make it
seconds.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from genjscc.photos import sample_photos
from genjscc.repository import REPOSITORY
from tests.helpers.command_line import genjscc
from tests.helpers.written_pages import commands

TABLE = (REPOSITORY / "README.md").read_text().partition("| question | command |")[2]
ANSWERS = dict(re.findall(r"^\| ([^|]+) \| `genjscc ([^`]+)`", TABLE, re.MULTILINE))
GALLERY = REPOSITORY / "docs" / "gallery.md"
SHOWN = [command.removeprefix("genjscc ") for command in commands(GALLERY)]
LINES = list(dict.fromkeys([*ANSWERS.values(), *SHOWN]))
_MEASURED = "--rate 1/48 --snr-db 5 --perceptual none --no-frechet"
SHORTENED = {
    "baseline": "--rate 1/12 --snr-db 5 --codec jpeg --channel-code capacity --perceptual none",
    "evaluate": _MEASURED,
    "train": "--set images=8 --set batch_size=2 --set validate_images=1 --set workers=0",
    "report": f"--results {REPOSITORY / 'results'}",
    "compare": "--inversion steps=1,1,1,1",
}
NOT_RUN = {
    "serve": "runs until it is stopped: tests/docs/test_written_pages.py runs it with a plug-in",
    "export-onnx": "tests/genjscc/test_onnx_export.py runs it",
    "demo": "tests/genjscc/cli/test_commands.py runs it, with a photo too",
    "web": "runs until it is stopped: tests/e2e/test_web.py opens it",
}
# The files that each leaves.
WRITTEN = {
    "baseline": "baseline.json",
    "push": "mirror/faces64/config.json",
    "pull": "mine/faces64/decoder.safetensors",
    "report": "curves.mat",
    "train": "runs/mine",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as README has it."""
    root = tmp_path_factory.mktemp("reader")
    for name in ("models", "configs"):
        (root / name).symlink_to(REPOSITORY / name)
    for split in ("train", "val", "test"):
        (root / "photos" / split).mkdir(parents=True)
        for path in sample_photos():
            shutil.copy(path, root / "photos" / split)
    shutil.copy(sample_photos()[0], root / "photo.jpg")
    return root


def test_the_table_has_what_people_ask() -> None:
    asked = {line.split()[0] for line in ANSWERS.values()}
    assert {*WRITTEN, *NOT_RUN, "cbr", "compare", "evaluate"} - {"web"} == asked
    assert "[`CITATION.cff`]" in TABLE


def test_the_gallery_has_a_command_under_each_picture() -> None:
    text = GALLERY.read_text()
    pictures = re.findall(r"^!\[[^\]]+\]\(([^)]+)\)\n\n```sh\ngenjscc ", text, re.MULTILINE)
    assert len(pictures) == text.count("![") == 7
    assert all((GALLERY.parent / picture).is_file() for picture in pictures)


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_a_command_answers(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, *rest = shlex.split(line)
    if name in NOT_RUN:
        return
    monkeypatch.chdir(folder)
    more = SHORTENED.get(name, "").split()
    if name == "evaluate" and "--model" not in rest:
        more += ["--model", "faces64"]
    if name == "compare" and "inverse" not in rest:
        more = ["--digital", "none"]
    done = genjscc(name, *rest, *more)
    assert done.returncode == 0, done.stderr
    assert (folder / WRITTEN.get(name, "photos")).exists()
    if name == "cbr":
        assert "24576" in done.stdout
    if name == "evaluate":
        assert "1/48" in done.stdout
