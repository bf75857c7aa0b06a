# SPDX-License-Identifier: Apache-2.0
"""README and pages are run as they are written: commands, programs, and what they print.

A page is run in a folder like a clone, its commands by bash in their order, with the services of
`genjscc up` in the background as it says; its Python at the end, as one program. Commands that are
not run stand in `NOT_RUN` with the reason; those of `genjscc` among them are parsed by
tests/genjscc/cli/test_written_commands.py.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from genjscc.photos import sample_photos
from genjscc.repository import REPOSITORY
from tests.helpers.written_pages import blocks, commands, missing_lines

README = REPOSITORY / "README.md"
TUTORIAL, OWN_PARTS = (REPOSITORY / "docs" / name for name in ("tutorial.md", "own_parts.md"))
PAGES = (README, TUTORIAL, OWN_PARTS)
OUTPUT_PAGES = (TUTORIAL, OWN_PARTS)

UP = "genjscc up"
# What goes on until Ctrl-C, and what it says when it is ready.
BACKGROUND = {
    UP: "ready",
    "genjscc serve channel --port 50062 --plugins impulse_noise:impulse": '"address"',
    "python thumbnails.py": "ready",
}
_ENGINE = "needs a Docker engine: tests/deploy/test_engine.py runs Compose"
NOT_RUN = {
    "make web": "serves until Ctrl-C; tests/e2e/test_web.py runs `genjscc web`",
    "make demo": "installs into .venv; tests/genjscc/cli/test_commands.py runs `genjscc demo`",
    "make test": "is what runs this",
    "pip install 'genjscc-0.1.0-py3-none-any.whl[serve]'": "tests/contract/test_wheel.py does it",
    "genjscc demo": "tests/contract/test_wheel.py runs it from the wheel",
    "docker compose up --detach --wait": _ENGINE,
    "docker compose run --rm demo": _ENGINE,
    "docker compose up --detach --scale receiver=3": _ENGINE,
}
ADDRESSES = {"transmitter": "50051", "channel": "50052", "receiver": "50053"}
PORTS = (*ADDRESSES.values(), "9464", "9465", "9466", "50062", "50071")


@dataclass
class Clone:
    """A folder as a reader has it, and her environment."""

    folder: Path
    environment: dict[str, str]
    # Ports of the pages that others use on this machine, and free ones in their place.
    ports: dict[str, str] = field(default_factory=dict)

    def here(self, text: str) -> str:
        for written, free in self.ports.items():
            text = text.replace(written, free)
        return text

    def run(self, arguments: list[str]) -> str:
        """What it prints; fails with it where it fails."""
        done = subprocess.run(
            arguments,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}\n{done.stdout}"
        return done.stdout

    @contextmanager
    def started(self, command: str, ready: str) -> Iterator[str]:
        """Runs in the background until the end of the block; yields what it said."""
        process = subprocess.Popen(
            ["bash", "-c", f"exec {self.here(command)}"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            yield _until(process, ready)
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate()


def _until(process: subprocess.Popen[bytes], ready: str) -> str:
    assert process.stdout is not None
    said, end = b"", time.monotonic() + 500
    while ready not in said.decode():
        assert time.monotonic() < end, f"not ready:\n{said.decode()}"
        if select.select([process.stdout], [], [], 1)[0]:
            data = os.read(process.stdout.fileno(), 4096)
            assert data, f"ended:\n{said.decode()}"
            said += data
    return said.decode()


def _is_free(port: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) != 0


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """With the services of `genjscc up`."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("genjscc", "transmitter", "channel", "receiver", "configs"):
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / "models").mkdir()
    for bundle in (REPOSITORY / "models").iterdir():
        (folder / "models" / bundle.name).symlink_to(bundle)
    (folder / ".venv").symlink_to(sys.prefix)
    for name in ("photo.jpg", "face.png", "a.png", "b.png"):  # the reader's own
        shutil.copy(sample_photos()[0], folder / name)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GENJSCC_")}
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    more = {"PATH": programs, "COLUMNS": "120", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    clone = Clone(folder, kept | more)
    taken = [port for port in PORTS if not _is_free(port)]
    command = UP
    if taken:  # others have services on this machine
        command = f"{UP} --free-ports"
        clone.ports = {port: _free_port() for port in PORTS}
    with clone.started(command, BACKGROUND[UP]) as said:
        if taken:
            for role, port in ADDRESSES.items():
                found = re.search(rf"{role}\W+127\.0\.0\.1:(\d+)", said)
                assert found, said
                clone.ports[port] = found[1]
                clone.environment[f"GENJSCC_{role.upper()}"] = f"127.0.0.1:{found[1]}"
        yield clone


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_run_as_it_is_written(page: Path, clone: Clone) -> None:
    # Pictures of an earlier page would have those of this one numbered.
    shutil.rmtree(clone.folder / "received", ignore_errors=True)
    printed, programs = "", []
    with ExitStack() as background:
        for block in blocks(page):
            if block.file_name:
                (clone.folder / block.file_name).write_text(clone.here(block.text))
            elif block.language == "python":
                # Lines as on the page, for who reads a traceback.
                programs.append(block.text)
            elif block.language == "sh":
                for command in block.commands():
                    if command == UP or command in NOT_RUN:
                        continue
                    if command in BACKGROUND:
                        background.enter_context(clone.started(command, BACKGROUND[command]))
                    else:
                        printed += clone.run(["bash", "-euc", clone.here(command)])
            else:
                assert block.language in ("text", ""), (
                    f"{page.name}:{block.line}: nobody looks at it"
                )
        if programs:
            printed += clone.run([sys.executable, "-c", clone.here("\n".join(programs))])
    for block in blocks(page):
        if block.language == "text" and page in OUTPUT_PAGES:
            missing = missing_lines(block.text, printed)
            assert not missing, f"{page.name}:{block.line}: not printed: {missing}\n{printed}"


def test_what_is_not_run_stands_on_a_page() -> None:
    written = {command for page in PAGES for command in commands(page)}
    assert {*NOT_RUN, *BACKGROUND} <= written
    assert all(len(reason) > 10 for reason in NOT_RUN.values())


def test_most_is_run() -> None:
    for page, least in ((README, 5), (TUTORIAL, 7), (OWN_PARTS, 2)):
        run = [command for command in commands(page) if command not in NOT_RUN]
        assert len(run) >= least, page


def test_other_output_is_noticed() -> None:
    printed = "│ photo │ 256 │ 0.512 dB │\nsecond line\n"
    assert missing_lines("photo 256 0.51 dB\nsecond line", printed) == []
    assert missing_lines("photo 256 0.6 dB", printed) == ["photo 256 0.6 dB"]
    assert missing_lines("photo 256", printed) == ["photo 256"]
    assert missing_lines("second line\nphoto 256 0.51 dB", printed) == ["photo 256 0.51 dB"]
