# SPDX-License-Identifier: Apache-2.0
"""The wheel is the product: built, installed into an environment of its own, used elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from genjscc.photos import sample_photos
from genjscc.repository import REPOSITORY
from hatch_build import with_mapped_imports

pytestmark = pytest.mark.timeout(300)
_MEGABYTE = 1e6


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Return its standard output; fails with what it says."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GENJSCC_", "PYTHON"))}
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=kept | {"OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(folder: Path, **environment: str) -> Path:
    pip = (sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", folder, REPOSITORY, cwd=folder, **environment)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose `environment` holds the wheel, and shares what it depends on."""
    folder = tmp_path_factory.mktemp("elsewhere")
    environment = folder / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=folder)
    python = environment / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps")
    run(*pip, "--no-index", wheel, cwd=folder)
    (site,) = environment.glob("lib/*/site-packages")
    (site / "shared.pth").write_text(sysconfig.get_path("purelib"))
    for name in ("transmitter", "channel", "receiver"):  # other people have such modules
        (folder / f"{name}.py").write_text("raise ImportError('a module of somebody else')\n")
    return folder


def test_it_is_small(wheel: Path, tmp_path: Path) -> None:
    assert wheel.stat().st_size < 15 * _MEGABYTE
    assert build(tmp_path, GENJSCC_WHEEL_MODELS="").stat().st_size < 2 * _MEGABYTE


def test_its_names_collide_with_nothing(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert len(names) == len(set(names))
    assert {name.split("/")[0] for name in names} == {"genjscc", "genjscc-0.1.0.dist-info"}
    code = {name for name in names if name.endswith(".py")}
    for folder in ("genjscc", "transmitter", "channel", "receiver"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            inside = path.relative_to(REPOSITORY).as_posix()
            assert inside in code or f"genjscc/{inside}" in code


def test_demo_and_evaluation_run_elsewhere(elsewhere: Path) -> None:
    genjscc = elsewhere / "environment" / "bin" / "genjscc"
    where = "import genjscc; print(genjscc.__file__)"
    python = elsewhere / "environment" / "bin" / "python"
    assert str(elsewhere) in run(python, "-P", "-c", where, cwd=elsewhere)
    home = {"HOME": str(elsewhere), "XDG_DATA_HOME": str(elsewhere / "data")}
    shown = json.loads(run(genjscc, "demo", "--json", "--no-preview", cwd=elsewhere, **home))
    assert (elsewhere / "demo" / "sheet.png").is_file()
    assert {"psnr_db", "k"} <= shown["results"][0].keys()
    photos = elsewhere / "photos"
    photos.mkdir()
    for path in sample_photos()[:2]:
        shutil.copy(path, photos)
    few = ("--model", "natural64", "--rate", "1/48", "--snr-db", "5", "--perceptual", "none")
    command = ("evaluate", "photos", "two.json", *few, "--no-frechet", "--size", "64")
    run(genjscc, *command, cwd=elsewhere, **home)
    (record,) = json.loads((elsewhere / "two.json").read_text())["records"]
    assert record["n"] == 2
    assert record["psnr_db"]["mean"] > 15


def test_the_services_have_one_name_in_clone_and_wheel(elsewhere: Path) -> None:
    program = "import genjscc.channel.physics as a; print(a.__name__, a.__spec__.name)"
    python = elsewhere / "environment" / "bin" / "python"
    assert run(python, "-c", program, cwd=elsewhere).split() == ["genjscc.channel.physics"] * 2
    assert run(sys.executable, "-c", program, cwd=REPOSITORY).split() == ["channel.physics"] * 2
    same = "import channel.physics, genjscc.channel.physics as a; assert a is channel.physics"
    run(sys.executable, "-c", same, cwd=REPOSITORY)


def test_imports_are_mapped_or_refused() -> None:
    source = "from channel.noise import x\nimport receiver as r\nfrom channels import y\n"
    assert with_mapped_imports(source, "a.py") == (
        "from genjscc.channel.noise import x\nimport genjscc.receiver as r\n"
        "from channels import y\n"
    )
    with pytest.raises(ValueError, match=r"a\.py:1: must be"):
        with_mapped_imports("import channel.noise\n", "a.py")
