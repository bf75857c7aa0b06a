# SPDX-License-Identifier: Apache-2.0
"""Models come and go without a restart, and no call notices."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from genjscc import Link
from genjscc.bundles.store import ENCODER
from genjscc.errors import BundleError, ModelNotFoundError
from genjscc.serving.metrics import Metrics
from genjscc.serving.reload import signature
from genjscc.serving.scheduling.dispatcher import Dispatcher
from genjscc.serving.settings import ServiceSettings
from tests.helpers.real_services import ServiceProcess
from tests.helpers.tiny_bundles import SINGLE, write_tiny

IMAGE = np.full((32, 32, 3), 128, np.uint8)
OTHER = "tiny-other"


class NamedEngine:
    """Answers with its name; waits at each step for `go`."""

    def __init__(self, name: str, go: threading.Event) -> None:
        self.name, self.go = name, go
        self.queued = 0

    def prepare(self, request: str) -> str:
        return f"{request}{self.name}"

    def key(self, job: str) -> str:
        self.queued += 1
        return ""

    def run(self, jobs: Sequence[str]) -> list[str]:
        assert self.go.wait(60)
        assert len({job[-1] for job in jobs}) == 1
        return [f"{job}{self.name}" for job in jobs]

    def finish(self, job: str, result: str) -> str:
        return f"{result}{self.name}"


async def test_calls_end_on_the_engine_that_they_began_with() -> None:
    go = threading.Event()
    engines = [NamedEngine(name, go) for name in "abc"]
    loads = iter(engines)
    served = Dispatcher(lambda: next(loads), ServiceSettings(), Metrics("test", "0"))
    await served.start()
    early = [asyncio.create_task(served.answer("-")) for _ in range(5)]
    while engines[0].queued < 5:
        await asyncio.sleep(0.001)
    await served.replace(lambda old, new: None)
    late = [asyncio.create_task(served.answer("-")) for _ in range(5)]
    while engines[1].queued < 5:
        await asyncio.sleep(0.001)

    def refuse(old: NamedEngine, new: NamedEngine) -> None:
        assert (old.name, new.name) == ("b", "c")
        raise BundleError("broken")

    with pytest.raises(BundleError, match="broken"):
        await served.replace(refuse)
    go.set()
    assert set(await asyncio.gather(*early)) == {"-aaa"}
    assert set(await asyncio.gather(*late)) == {"-bbb"}
    served.close()


def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def reloads(service: ServiceProcess) -> dict[str, float]:
    with urllib.request.urlopen(service.metrics_url) as response:
        text = response.read().decode()
    found = re.findall(r'^genjscc_reloads_total\{result="(\w+)"\} (\S+)', text, re.MULTILINE)
    return {result: float(number) for result, number in found}


def put(bundle: Path, root: Path) -> None:
    """Put a bundle into a folder at once, in place of what is there."""
    shutil.copytree(bundle, root / f".{bundle.name}.partial")
    if (root / bundle.name).exists():
        (root / bundle.name).rename(root / f".{bundle.name}.old")
    (root / f".{bundle.name}.partial").rename(root / bundle.name)
    shutil.rmtree(root / f".{bundle.name}.old", ignore_errors=True)


@contextmanager
def load_on(link: Link) -> Iterator[list[object]]:
    """Encode without a pause until the end of the block; yields pair ids and errors."""
    outcomes: list[object] = []
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            try:
                outcomes.append(link.encode(IMAGE, model=SINGLE, snr_db=0).pair_id)
            except Exception as error:  # noqa: BLE001
                outcomes.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield outcomes
    finally:
        stop.set()
        thread.join()


def test_models_come_and_go_under_load(tmp_path: Path) -> None:
    root, spare = tmp_path / "models", tmp_path / "spare"
    first = write_tiny(root, SINGLE)
    second = write_tiny(spare, SINGLE, channels=4)
    write_tiny(spare, OTHER)
    flags = ("--bundles", str(root), "--watch-s", "0.1")
    service = ServiceProcess("transmitter", *flags, log=tmp_path / "log")
    try:
        with Link(transmitter=service.address) as link, load_on(link) as outcomes:

            def names() -> set[str]:
                return {model.name for model in link.models()}

            def pair() -> str:
                return next(m.pair_id for m in link.models() if m.name == SINGLE)

            until(lambda: len(outcomes) > 3, "calls")
            put(spare / OTHER, root)
            until(lambda: names() == {SINGLE, OTHER}, "an added model")
            assert link.encode(IMAGE, model=OTHER, snr_db=0).k
            put(spare / SINGLE, root)
            until(lambda: pair() == second.pair_id, "a replaced model")
            (root / SINGLE / ENCODER).write_bytes(b"broken")
            until(lambda: reloads(service).get("failed"), "a broken model")
            assert pair() == second.pair_id
            done = reloads(service)["done"]
            put(spare / SINGLE, root)
            until(lambda: reloads(service)["done"] > done, "the repaired model")
            shutil.rmtree(root / OTHER)
            until(lambda: names() == {SINGLE}, "a removed model")
            with pytest.raises(ModelNotFoundError):
                link.encode(IMAGE, model=OTHER, snr_db=0)
            done = reloads(service)["done"]
            service.process.send_signal(signal.SIGHUP)
            until(lambda: reloads(service)["done"] > done, "SIGHUP")
            seen = len(outcomes)
            until(lambda: len(outcomes) > seen, "calls afterwards")
        assert set(map(str, outcomes)) == {first.pair_id, second.pair_id}
    finally:
        code = service.terminate()
    assert code == 0
    log = service.log.read_text()
    assert "models not reloaded" in log
    assert ENCODER in log
    assert "Traceback" not in log


def test_every_change_of_a_folder_shows(tmp_path: Path) -> None:
    write_tiny(tmp_path, SINGLE)
    seen = {signature(tmp_path)}
    (tmp_path / SINGLE / "card.md").write_text("other\n")
    seen.add(signature(tmp_path))
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "config.json").write_text("{}")
    assert signature(tmp_path) in seen
    shutil.rmtree(tmp_path / SINGLE)
    seen.add(signature(tmp_path))
    assert len(seen) == 3
