# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genjscc import LocalLink
from genjscc.bundles.store import find_bundles
from genjscc.cli.commands import demo
from genjscc.cli.commands.train import parse_overrides
from genjscc.cli.options import ChannelName, channel_of
from genjscc.client.options import Awgn, Fading, Noiseless
from genjscc.errors import InvalidInputError
from genjscc.photos import load_square, sample_photos
from genjscc.repository import REPOSITORY
from tests.helpers.command_line import genjscc
from tests.helpers.real_services import Services
from tests.helpers.tiny_bundles import MULTI

NOWHERE = "127.0.0.1:9"


def addresses(services: Services, roles: Sequence[str]) -> list[str]:
    return [part for role in roles for part in (f"--{role}", services.addresses[role])]


ALL = ("transmitter", "channel", "receiver")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "a photo.jpg"
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    coarse.resize((70, 50), Image.Resampling.BICUBIC).save(path)
    return path


def test_the_module_is_the_command_and_its_help_lists_all() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "genjscc", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
        env={"PATH": "", "COLUMNS": "160"},
    )
    for command in (
        "demo",
        "send",
        "models",
        "up",
        "serve",
        "evaluate",
        "compare",
        "train",
        "export",
        "convert-stylegan2",
    ):
        assert f" {command} " in result.stdout


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "send",
        "models",
        "up",
        "train deepjscc",
        "train generative",
        "train stylegan2",
        "convert-stylegan2",
        "evaluate",
        "compare",
        "export",
        "serve channel",
    ],
)
def test_every_command_has_help(command: str) -> None:
    result = genjscc(*command.split(), "--help")
    assert result.returncode == 0
    assert "--" in result.stdout


def test_send_saves_what_the_same_link_in_process_gives(
    services: Services, bundles: Path, photo: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    flags = ["--snr-db", "3", "--seed", "4", "--output", str(output)]
    result = genjscc("send", str(photo), *flags, *addresses(services, ALL))
    assert result.returncode == 0, result.stderr
    with Image.open(output / f"a photo_{MULTI}_1-48_3dB.png") as file:
        saved = np.asarray(file)
    expected = LocalLink(bundles=bundles).send(photo, snr_db=3, seed=4).image
    assert saved.shape == (50, 70, 3)
    np.testing.assert_array_equal(saved, expected)
    assert "a photo.jpg" in result.stdout


def test_send_goes_on_after_a_bad_photo_and_fails_in_the_end(
    services: Services, photo: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    flags = ["--size", "32", "--output", str(tmp_path / "out"), *addresses(services, ALL)]
    result = genjscc("send", str(bad), str(tmp_path / "missing.png"), str(photo), *flags)
    assert result.returncode == 1
    with Image.open(tmp_path / "out" / f"a photo_{MULTI}_1-48_0dB.png") as saved:
        assert saved.size == (32, 32)
    assert "bad.png: got 8 bytes that are not a PNG" in result.stderr
    assert "missing.png" in result.stderr
    assert "Traceback" not in result.stderr


def test_models_lists_the_bundles(services: Services, bundles: Path) -> None:
    result = genjscc("models", *addresses(services, ("transmitter",)))
    assert result.returncode == 0
    for name in find_bundles(bundles):
        assert name in result.stdout


def test_a_service_that_is_not_there_is_one_line_and_a_hint(photo: Path, tmp_path: Path) -> None:
    result = genjscc("send", str(photo), "--transmitter", NOWHERE, "-o", str(tmp_path))
    assert result.returncode == 1
    assert f"transmitter at {NOWHERE}" in result.stderr
    assert "genjscc up" in result.stderr
    assert "Traceback" not in result.stderr


def test_demo_sends_every_rate_and_snr_and_leaves_a_picture(
    bundles: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With three processes: test_model_choice.py.
    monkeypatch.setattr(demo, "_own_link", lambda bundles, _: LocalLink(bundles=bundles))
    sheet = tmp_path / "sheet.png"
    result = genjscc("demo", "--photo", str(photo), "--bundles", str(bundles), "-o", str(sheet))
    assert result.returncode == 0, result.stderr
    with Image.open(sheet) as picture:
        width, height = picture.size
    assert width > height > 100
    for row in ("1/768", "1/192", "1/48", "-5", "+0", "+5"):
        assert row in result.stdout


def test_demo_of_running_services_names_a_model_that_is_not_there(
    services: Services, tmp_path: Path
) -> None:
    variables = {f"GENJSCC_{role.upper()}": at for role, at in services.addresses.items()}
    flags = ("--connect", "--model", "nothing", "-o", str(tmp_path / "sheet.png"))
    result = genjscc("demo", *flags, **variables)
    assert result.returncode == 1
    assert "'nothing'" in result.stderr


def test_services_that_cannot_start_say_why(tmp_path: Path) -> None:
    flags = ("--bundles", str(tmp_path), "-o", str(tmp_path / "sheet.png"))
    result = genjscc("demo", *flags)
    assert result.returncode == 1
    assert "no bundle" in result.stderr
    assert str(tmp_path) in result.stderr.replace("\n", "")


def test_up_announces_its_services_and_takes_them_along(bundles: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "genjscc", "up", "--free-ports", "--bundles", str(bundles)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("ready"):
            break
    process.send_signal(signal.SIGINT)  # SIGTERM: tests/e2e/test_web.py
    out, _ = process.communicate()
    assert process.returncode == 130
    assert all(role in out for role in ALL)
    for port in re.findall(r"127\.0\.0\.1:(\d+) ", out):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(port)), timeout=60)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["--port", "70000"], "port"),
        (["--port", "many"], "port"),
        (["--backend", "cupy"], "backend"),
        (["--queue-size", "0"], "queue_size"),
    ],
)
def test_a_wrong_flag_of_a_service_is_named(arguments: list[str], field: str) -> None:
    result = genjscc("serve", "channel", *arguments)
    assert result.returncode == 2
    assert field.replace("_", "-") in result.stderr.replace("_", "-")
    assert "Traceback" not in result.stderr


def test_a_service_announces_itself_on_one_json_line() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "genjscc", "serve", "channel", "--port", "0", "--metrics-port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=REPOSITORY,
    )
    assert process.stdout is not None
    with process.stdout as announcements:
        ready = json.loads(announcements.readline())
        process.terminate()
        assert process.wait() == 0
    assert ready["role"] == "channel"
    assert ready["address"].startswith("127.0.0.1:")


def test_channels_by_name() -> None:
    assert channel_of(ChannelName.AWGN, 4.0, 0) == Awgn()
    assert channel_of(ChannelName.NOISELESS, 4.0, 0) == Noiseless()
    assert channel_of(ChannelName.RAYLEIGH, 4.0, 8) == Fading(0.0, 8)
    assert channel_of(ChannelName.RICIAN, 4.0, 8) == Fading(4.0, 8)


def test_overrides_are_read_as_yaml() -> None:
    assert parse_overrides(["a=1", "b=[1, 2]", "c=null", "d=x=y"]) == {
        "a": 1,
        "b": [1, 2],
        "c": None,
        "d": "x=y",
    }
    with pytest.raises(InvalidInputError, match="FIELD=VALUE"):
        parse_overrides(["images"])


def test_sample_photos_ship_and_are_squares() -> None:
    photos = sample_photos()
    assert len(photos) >= 3
    assert all(load_square(path, 64).shape == (64, 64, 3) for path in photos)
