# SPDX-License-Identifier: Apache-2.0
"""What makes the command line pleasant: JSON for programs, pictures, completion, the doctor."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main

from genjscc import diagnosis
from genjscc.bundles.store import find_bundles
from genjscc.cli import console
from genjscc.cli.commands import doctor, export, models, send, serve, train
from genjscc.cli.json_option import add_json_option
from genjscc.diagnosis import Finding, examine
from genjscc.quality.statistics import Mean
from genjscc.repository import REPOSITORY as HERE
from tests.helpers.command_line import genjscc
from tests.helpers.pictures import file_of, gradient
from tests.helpers.real_services import Services
from tests.helpers.tiny_bundles import MULTI

NOWHERE = "127.0.0.1:9"


def flags(services: Services, **changes: str) -> list[str]:
    addresses = services.addresses | changes
    return [part for role, at in addresses.items() for part in (f"--{role}", at)]


def test_every_command_but_serve_has_the_switch() -> None:
    app = typer.Typer()
    for part in (send, models, train, export, doctor, serve):
        part.register(app)
    program: Any = typer.main.get_command(app)
    add_json_option(program)
    commands = dict(program.commands) | dict(program.commands["train"].commands)
    del commands["train"]
    switched = {
        name for name, one in commands.items() if any("--json" in p.opts for p in one.params)
    }
    assert switched == commands.keys() - {"serve"}
    assert len(switched) >= 9


def test_send_tells_programs_what_arrived_and_what_did_not(
    services: Services, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(file_of(gradient(32, 32)))
    bad.write_text("nothing")
    output = tmp_path / "out"
    done = genjscc(
        *("send", str(bad), str(good), "--noise", "noiseless", "--seed", "7"),
        *("--output", str(output), "--json", *flags(services)),
    )
    assert done.returncode == 1
    printed = json.loads(done.stdout)
    assert (printed["format"], printed["command"]) == (1, "send")
    assert printed["files"] == [str(output / f"good_{MULTI}_1-48_0dB.png")]
    failed, received = printed["results"]
    assert failed["photo"] == str(bad)
    assert failed["error"]["type"] == "InvalidInputError"
    assert failed["error"]["status"] == "INVALID_ARGUMENT"
    assert (received["rate"], received["seed"], received["k"]) == ("1/48", 7, 64)
    assert received["measured_snr_db"] is None  # JSON has no infinity
    assert received["psnr_db"] > 0
    assert set(received["seconds"]) == {"encode", "transmit", "decode"}


def test_an_error_is_json_too() -> None:
    done = genjscc("models", "--transmitter", NOWHERE, "--json")
    assert done.returncode == 1
    printed = json.loads(done.stdout)
    assert printed["command"] == "models"
    assert printed["error"]["status"] == "UNAVAILABLE"
    assert "genjscc up" in printed["error"]["hint"]
    assert f"transmitter at {NOWHERE}" in done.stderr


def test_wrong_usage_is_2() -> None:
    assert genjscc("send").returncode == 2
    assert genjscc("models", "--colour").returncode == 2


def test_words_are_completed() -> None:
    answer = genjscc(
        _GENJSCC_COMPLETE="complete_bash", COMP_WORDS="genjscc doctor --rec", COMP_CWORD="2"
    )
    assert answer.stdout.split() == ["--receiver"]
    answer = genjscc(_GENJSCC_COMPLETE="complete_bash", COMP_WORDS="genjscc do", COMP_CWORD="1")
    assert answer.stdout.split() == ["doctor"]


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("send x --model tiny-m", [MULTI]),
        (f"send x --model {MULTI} --rate 1/7", ["1/768"]),
        ("send x --model tiny-single --rate 1/", ["1/192"]),
        ("compare --scheme in", ["inverse"]),
    ],
)
def test_models_rates_and_schemes_are_completed(
    words: str, completed: list[str], bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genjscc.cli.completion.default_models", lambda: bundles)
    answer = genjscc(
        _GENJSCC_COMPLETE="complete_bash",
        COMP_WORDS=f"genjscc {words}",
        COMP_CWORD=str(len(words.split())),
    )
    assert answer.stdout.split() == completed


def test_the_version_is_told() -> None:
    import genjscc as package

    shown = genjscc("--version")
    assert (shown.returncode, shown.stdout) == (0, f"genjscc {package.__version__}\n")
    assert {"Link", "LocalLink", "__version__"} <= set(dir(package))


@dataclass(frozen=True)
class Some:
    where: Path
    value: float
    parts: tuple[Mapping[str, Any], ...]


def test_values_become_json() -> None:
    value = Some(Path("a/b"), float("inf"), ({"n": 1, "x": 0.5, "none": None, "yes": True},))
    mean = Mean(mean=float("nan"), ci95=0.5, n=2)
    printed = console.plain([value, Finding("a", "b", "ok", "c"), mean])
    assert json.loads(json.dumps(printed, allow_nan=False)) == [
        {"where": "a/b", "value": None, "parts": [{"n": 1, "x": 0.5, "none": None, "yes": True}]},
        {"area": "a", "name": "b", "state": "ok", "found": "c", "advice": ""},
        {"mean": None, "ci95": 0.5, "n": 2},
    ]


SHOW = """
import numpy as np
from genjscc.cli.pictures import show_pictures
show_pictures([("sent", np.full((8, 8, 3), 200, np.uint8))], columns=8)
print("end")
"""


def test_pictures_are_for_terminals_alone() -> None:
    piped = subprocess.run(
        [sys.executable, "-c", SHOW], capture_output=True, text=True, check=True, cwd=HERE
    )
    assert piped.stdout == "end\n"
    text = in_terminal(80)
    assert "sent" in text
    assert text.count("▀") == 8 * 4
    assert "38;2;200;200;200" in text
    assert in_terminal(0) == "end\r\n"


def in_terminal(columns: int) -> str:
    """What the same writes to a terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = os.environ | {"COLORTERM": "truecolor", "TERM": "xterm-256color"}
    with subprocess.Popen(
        [sys.executable, "-c", SHOW], stdin=theirs, stdout=theirs, cwd=HERE, env=environment
    ) as process:
        os.close(theirs)
        seen = b""
        with suppress(OSError):  # the other end is closed
            while more := os.read(ours, 4096):
                seen += more
        assert process.wait() == 0
    os.close(ours)
    return seen.decode()


def by_name(findings: Any) -> dict[tuple[str, str], Finding]:
    return {(one.area, one.name): one for one in findings}


def test_the_doctor_finds_what_is_here(services: Services, bundles: Path) -> None:
    found = by_name(examine(bundles, services.addresses))
    assert not [one for one in found.values() if one.state == "problem"]
    for name in find_bundles(bundles):
        assert "2 files verified" in found["models", name].found
    assert ("models", "generator") not in found
    for role in services.addresses:
        assert found["services", role].state == "ok"
    assert found["perceptual", "ST-LPIPS"].state == "ok"
    assert found["devices", "cpu"].state == "ok"
    assert all(one.advice for one in found.values() if one.state != "ok")


def test_the_doctor_names_what_is_broken(
    bundles: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = next(iter(find_bundles(bundles)))
    (tmp_path / name).mkdir()
    for file in (bundles / name).iterdir():
        (tmp_path / name / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / name / "decoder.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(console, "_json_for", ["doctor"])
    with pytest.raises(typer.Exit) as ended:
        doctor.doctor(tmp_path, channel=NOWHERE)
    assert ended.value.exit_code == 1
    found = by_name(Finding(**one) for one in json.loads(capsys.readouterr().out)["results"])
    problems = {where for where, one in found.items() if one.state == "problem"}
    assert problems == {("models", name), ("services", "channel")}
    assert "SHA-256" in found["models", name].found
    assert "restore the folder" in found["models", name].advice
    assert found["docker", "engine"].state == "missing"  # there is no PATH

    empty = by_name(diagnosis.models(tmp_path / name))
    assert empty["models", str(tmp_path / name)].state == "missing"
    needs = ["there>=1; extra == 'web'", "numpy>=1; extra == 'web'", "numpy; extra == 'load'"]
    monkeypatch.setattr(diagnosis, "requires", lambda _: needs)
    extras = by_name(diagnosis.extras())
    assert extras["extras", "load"].state == "ok"
    assert extras["extras", "web"].found == "without there"
    assert extras["extras", "web"].advice == "pip install 'genjscc[web]'"


def test_exit_codes_are_documented() -> None:
    page = (HERE / "docs" / "command-line.md").read_text()
    table = page.partition("| code | meaning |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| (\d+) \|", table, re.MULTILINE) == ["0", "1", "2", "130", "143"]
