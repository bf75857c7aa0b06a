# SPDX-License-Identifier: Apache-2.0
"""The page as a visitor without a browser drives it, over a link in this process."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nicegui import context
from nicegui.testing.user import User
from nicegui.testing.user_simulation import user_simulation
from PIL import Image

from genjscc import LocalLink
from genjscc.client.options import Reception
from genjscc.photos import sample_scenes
from genjscc.web import page as page_module
from genjscc.web.address import read_settings, write_settings
from genjscc.web.page import Bench, Links, samples


@dataclass
class InProcess:
    """A link of the page's kind, whose answers can be held back."""

    local: LocalLink
    addresses: dict[str, str] = field(default_factory=lambda: {"transmitter": "here:1"})
    free: asyncio.Event = field(default_factory=asyncio.Event)
    sent: list[Any] = field(default_factory=list)

    async def models(self) -> Any:
        return self.local.models()

    async def decoders(self) -> Any:
        return self.local.decoders()

    async def send(self, image: Any, **keywords: Any) -> Reception:
        await self.free.wait()
        reception = self.local.send(image, **keywords)
        self.sent.append((image.shape, keywords))
        return reception


@dataclass
class Visit:
    """A visitor, her page, and the link behind it."""

    user: User
    bench: Bench
    link: InProcess
    scripts: list[str]

    async def until(self, condition: Callable[[], Any]) -> None:
        for _ in range(6000):
            if condition():
                return
            await asyncio.sleep(0.02)
        raise AssertionError(condition)

    async def settled(self) -> None:
        """Until nothing is under way."""
        await self.until(lambda: self.bench._refresh._task and self.bench._refresh._task.done())

    @property
    def card(self) -> Any:
        return self.bench._cards["deepjscc"]

    def text(self, element: Any) -> str:
        return str(element.content)

    def picture(self) -> str:
        return str(self.card._picture._image.props.get("src"))


@pytest.fixture(scope="module")
def local(bundles: Path) -> LocalLink:
    return LocalLink(bundles=bundles)


@pytest.fixture
async def visit(
    local: LocalLink, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[Visit]:
    monkeypatch.setattr(page_module, "problem", lambda address: None)
    # The figures are tested with the parts; their networks would take most of the time.
    monkeypatch.setattr(page_module, "Judge", lambda original: lambda received: {"PSNR": "1 dB"})
    link: Any = InProcess(local)
    benches: list[Bench] = []

    def root() -> None:
        query = context.client.request.query_params
        benches.append(Bench(Links(link, link), query))

    async with user_simulation(root) as user:
        await user.open("/" + getattr(request, "param", ""))
        scripts: list[str] = []
        client = user.client
        assert client is not None
        monkeypatch.setattr(client, "run_javascript", scripts.append)
        yield Visit(user, benches[-1], link, scripts)
        benches[-1].close()


async def test_the_slider_computes_with_numbers_and_replays_the_noise(visit: Visit) -> None:
    visit.link.free.set()
    await visit.until(lambda: not visit.card.empty)
    await visit.settled()
    slider = visit.bench.snr
    for name, value in (("min", -15), ("max", 20), ("step", 0.5)):
        assert isinstance(slider.props[name], int | float), name
        assert slider.props[name] == value
    before = visit.picture()
    slider.set_value(3.5)
    await visit.settled()
    assert visit.picture() != before
    slider.set_value(0)
    await visit.settled()
    assert visit.picture() == before
    assert [keywords["snr_db"] for _, keywords in visit.link.sent] == [0, 3.5, 0]


async def test_what_is_under_way_and_what_is_stale_can_be_seen(visit: Visit) -> None:
    assert visit.text(visit.card._picture._word) == "Asking the services ..."
    await visit.until(lambda: visit.bench._models)
    assert visit.text(visit.card._picture._word) == "Receiving ..."
    visit.link.free.set()
    await visit.until(lambda: not visit.card.empty)
    await visit.settled()
    visit.link.free.clear()
    visit.bench.snr.set_value(5)
    assert "stale" in visit.card.element.classes
    visit.link.free.set()
    await visit.settled()
    assert "stale" not in visit.card.element.classes


async def test_a_picture_is_saved_under_the_name_of_what_was_sent(visit: Visit) -> None:
    visit.link.free.set()
    await visit.until(lambda: not visit.card.empty)
    await visit.settled()
    pixels, name = visit.card._file
    seed = visit.bench._seed
    assert name == f"tiny-multi_deepjscc_1-48_awgn_0dB_noise{seed}.png"
    with visit.user:
        visit.card._download()
    saved = await visit.user.download.next(timeout=60)
    with Image.open(io.BytesIO(saved.content)) as file:
        np.testing.assert_array_equal(np.asarray(file), pixels)


async def test_it_starts_with_a_photograph_and_the_model_for_it(visit: Visit) -> None:
    visit.link.free.set()
    await visit.until(lambda: visit.link.sent)
    with Image.open(sample_scenes()[0]) as photograph:
        np.testing.assert_array_equal(visit.bench._photo, np.asarray(photograph.convert("RGB")))
    await visit.settled()


LINK = "?sample=2&model=tiny-multi&rate=1%2F768&size=128&channel=rician&k_factor=2.5&block=8"


@pytest.mark.parametrize("visit", [f"{LINK}&snr_db=-3&seed=77"], indirect=True)
async def test_a_link_brings_its_settings_and_the_address_keeps_them(visit: Visit) -> None:
    visit.link.free.set()
    await visit.until(lambda: visit.scripts)
    await visit.settled()
    shape, keywords = visit.link.sent[0]
    assert shape == (128, 128, 3)
    assert (keywords["rate"], keywords["snr_db"], keywords["seed"]) == ("1/768", -3, 77)
    assert (keywords["channel"].k_factor, keywords["channel"].block_length) == (2.5, 8)
    np.testing.assert_array_equal(visit.bench._photo, samples()[1].pixels)
    assert f"{LINK}&snr_db=-3" in visit.scripts[-1]
    visit.bench.rate.set_value("1/48")
    await visit.until(lambda: "rate=1%2F48" in visit.scripts[-1])
    # Generators have one size.
    assert "Not on offer" in visit.text(visit.bench._inverse._picture._word)


@pytest.mark.parametrize(
    "visit",
    ["?snr_db=1e999&seed=-1&rate=2&model=x&channel=%00&size=7&sample=99&k_factor=-5"],
    indirect=True,
)
async def test_a_link_that_is_nonsense_does_no_harm(visit: Visit) -> None:
    visit.link.free.set()
    await visit.until(lambda: not visit.card.empty)
    await visit.settled()
    _, keywords = visit.link.sent[0]
    assert (keywords["rate"], keywords["snr_db"], keywords["model"]) == ("1/48", 0, "tiny-multi")


def test_settings_in_an_address_are_read_as_they_were_written() -> None:
    settings = {"model": "a&b=c", "rate": "1/48", "snr_db": -2.5, "seed": 2**63, "block": None}
    query = write_settings(settings)
    parts = dict(part.split("=") for part in query.split("&"))
    assert set(parts) == {"model", "rate", "snr_db", "seed"}
    assert read_settings({"rate": "1/48", "snr_db": "nan", "seed": "1_0", "x": "y"}) == {
        "rate": "1/48",
        "seed": 10,
    }
