# SPDX-License-Identifier: Apache-2.0
"""Outputs are found to be writable before the work, and nothing is written over untold."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genjscc.cli import hear_interrupts, output_files
from genjscc.cli.commands.send import name_of
from genjscc.cli.output_files import (
    claim,
    claim_bundle,
    claim_folder,
    expanded,
    free_name,
    save_picture,
)
from genjscc.client.link import Link
from genjscc.errors import InvalidInputError
from tests.helpers.command_line import genjscc
from tests.helpers.pictures import file_of, gradient

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = ROOT / "genjscc" / "cli" / "commands"


@pytest.fixture(autouse=True)
def _as_typed() -> Iterator[None]:
    output_files._force[:] = []
    yield
    output_files._force[:] = []


def forced() -> None:
    output_files._force[:] = [True]


def test_an_input_is_never_written_over(tmp_path: Path) -> None:
    photo = tmp_path / "me.png"
    photo.write_bytes(b"mine")
    link = tmp_path / "linked.png"
    link.symlink_to(photo)
    for force in (lambda: None, forced):
        force()
        for path in (photo, link, tmp_path / "." / "me.png"):
            with pytest.raises(InvalidInputError, match="is an input; name another file"):
                claim(path, inputs=[photo])
            with pytest.raises(InvalidInputError, match="is an input"):
                claim(path, inputs=[tmp_path])
        assert free_name(tmp_path, "me", ".png", inputs=[photo]) == tmp_path / "me-2.png"
    assert photo.read_bytes() == b"mine"


def test_what_is_there_already_stays_unless_told(tmp_path: Path) -> None:
    old = tmp_path / "results.json"
    old.write_text("{}")
    with pytest.raises(InvalidInputError, match="is there already; --force writes over it"):
        claim(old)
    claim(old, anew=True)
    assert free_name(tmp_path, "results", ".json") == tmp_path / "results-2.json"
    (tmp_path / "results-2.json").write_text("{}")
    assert free_name(tmp_path, "results", ".json") == tmp_path / "results-3.json"
    forced()
    claim(old)
    assert free_name(tmp_path, "results", ".json") == old


def test_bundles_stay_unless_told(tmp_path: Path) -> None:
    bundle = tmp_path / "models" / "mine"
    claim_bundle(bundle)
    bundle.mkdir()
    claim_bundle(bundle)
    (bundle / "config.json").write_text("{}")
    with pytest.raises(InvalidInputError, match="is there already; --force"):
        claim_bundle(bundle)
    forced()
    claim_bundle(bundle)
    with pytest.raises(InvalidInputError, match="is an input"):
        claim_bundle(bundle, inputs=[bundle])
    with pytest.raises(InvalidInputError, match="is a file; name a folder"):
        claim_bundle(bundle / "config.json")


@pytest.mark.parametrize("name", ["file/x.json", "file/deeper/x.json", "folder.json", "x", "x.txt"])
def test_what_cannot_be_written_is_found_before_the_work(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InvalidInputError, match="output: "):
        claim(tmp_path / name)
    with pytest.raises(InvalidInputError, match="output: cannot write to"):
        claim_folder(tmp_path / "file")
    with pytest.raises(InvalidInputError, match="output: cannot write"):
        save_picture(__import__("PIL.Image").Image.new("RGB", (2, 2)), tmp_path / "file" / "x.png")


def test_folders_are_made(tmp_path: Path) -> None:
    claim(tmp_path / "new" / "deep" / "x.json")
    assert (tmp_path / "new" / "deep").is_dir()
    assert not list((tmp_path / "new" / "deep").iterdir())


def test_every_command_that_writes_asks_first() -> None:
    """Who saves, writes or makes folders in a command goes through `genjscc.cli.output_files`."""
    writes = {"save_picture", "write_results", "write_json", "save_bundle", "export_run"}
    claims = {"claim", "claim_folder", "claim_bundle"}
    for path in COMMANDS.glob("*.py"):
        called = {
            node.func.id
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        if called & writes:
            assert called & claims, path.name


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_pictures_keep_every_pixel(suffix: str, tmp_path: Path) -> None:
    pixels = gradient(40, 30)
    save_picture(Image.fromarray(pixels), tmp_path / f"sheet{suffix}")
    with Image.open(tmp_path / f"sheet{suffix}") as read:
        np.testing.assert_array_equal(np.asarray(read), pixels)


def reception(model: str = "faces64", rate: Fraction = Fraction(1, 768)) -> Any:
    return SimpleNamespace(model=model, codeword=SimpleNamespace(bandwidth_ratio=rate))


def test_names_carry_what_was_sent() -> None:
    assert name_of(Path("a/photo.jpg"), reception(), None, 0.0) == "photo_faces64_1-768_0dB"
    assert name_of(Path("p.png"), reception(), "inverse", -2.5) == "p_faces64_inverse_1-768_-2.5dB"
    generative = reception("faces64-generative")
    assert name_of(Path("p"), generative, "generative", 5) == "p_faces64-generative_1-768_5dB"


def test_folders_of_photos_are_taken(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.png", "deep/a.JPG", "._b.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert expanded([tmp_path, Path("named.txt")]) == [
        tmp_path / "b.png",
        tmp_path / "deep" / "a.JPG",
        Path("named.txt"),
    ]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match="no picture below"):
        expanded([tmp_path / "empty"])


def test_measures_find_small_images_before_the_work(tmp_path: Path) -> None:
    from genjscc.cli.measuring import load_dataset

    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(file_of(gradient(12, 10)))
    with pytest.raises(InvalidInputError, match=r"0\.png has 10x12 pixels.*--size"):
        load_dataset(tmp_path, 0, 0, "", "")


def test_a_locale_without_the_letters_ends_no_command(tmp_path: Path) -> None:
    variables = {
        "PYTHONIOENCODING": "iso-8859-1",
        "PYTHONUTF8": "0",
        "GENJSCC_TRANSMITER": "x",
    }
    command = ["send", "фото→.png", "--transmitter", "127.0.0.1:9", "-o", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "genjscc", *command],
        capture_output=True,
        check=False,
        env={**os.environ, **variables},
        encoding="latin-1",
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "\\u0444" in done.stderr
    assert "did you mean GENJSCC_TRANSMITTER?" in done.stderr


@pytest.mark.parametrize(
    "option", ["--size=-1", "--block-length=-1", "--size=wide"], ids=lambda option: option[2:]
)
def test_wrong_numbers_are_wrong_usage(option: str) -> None:
    done = genjscc("send", "photo.png", option)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


INTERRUPTED = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from genjscc.__main__ import run
run()
"""


@pytest.mark.parametrize("module", ["typer", "rich.console", "genjscc.cli.commands.train"])
def test_ctrl_c_in_the_first_second_is_quiet(module: str) -> None:
    """While the command line is imported: the time that it takes on a busy machine is long."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, module],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (-signal.SIGINT, 130)
    assert done.stderr == ""


def test_the_command_hears_ctrl_c_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        hear_interrupts()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        hear_interrupts()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_during_a_stream_ends_it_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source is still running when its reader goes: it is closed when it has ended."""
    import asyncio
    from concurrent.futures import Future

    ended = []

    async def source() -> Any:
        try:
            yield 1
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await asyncio.sleep(0.3)  # takes its time
                raise
        finally:
            ended.append(True)

    with Link(**dict.fromkeys(("transmitter", "channel", "receiver"), "127.0.0.1:9")) as link:
        steps = link._iterate(source())
        assert next(steps) == 1
        waited = Future.result

        def interrupted(self: Future[Any], timeout: float | None = None) -> Any:
            monkeypatch.setattr(Future, "result", waited)
            time.sleep(0.1)
            raise KeyboardInterrupt

        monkeypatch.setattr(Future, "result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(steps)
        assert ended == [True]


def test_what_the_system_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import genjscc.cli

    def full(**_: Any) -> None:
        raise OSError(28, "No space left on device", "/disk/sheet.png")

    monkeypatch.setattr(genjscc.cli, "_program", lambda: full)
    with pytest.raises(SystemExit) as ended:
        genjscc.cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: /disk/sheet.png: No space left on device\n"


def test_force_is_an_option_of_what_writes_alone() -> None:
    import genjscc.cli

    program: Any = genjscc.cli._program()
    having = {
        name
        for name, command in program.commands.items()
        if any("--force" in parameter.opts for parameter in command.params)
    }
    assert having == {
        *("demo", "send", "loadtest", "evaluate", "baseline", "receiver-time", "compare"),
        *("invert", "samples", "export", "export-onnx", "convert-stylegan2", "report"),
        *("pull", "push"),
    }
