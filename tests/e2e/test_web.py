# SPDX-License-Identifier: Apache-2.0
"""The page in a real Chromium, in front of real services."""

from __future__ import annotations

import itertools
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page
from prometheus_client.parser import text_string_to_metric_families

from genjscc import LocalLink
from genjscc.photos import load_square, sample_scenes
from genjscc.quality.psnr import psnr_db
from tests.helpers.browser import chromium
from tests.helpers.pictures import file_of, gradient, png_bomb
from tests.helpers.real_services import REPOSITORY, ServiceProcess, Services
from tests.helpers.tiny_bundles import SINGLE


def start_web(*flags: str) -> tuple[subprocess.Popen[str], str]:
    """A process of `genjscc web` and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "genjscc", "web", "--port", "0", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("page: "):
        raise AssertionError(process.communicate()[1])
    return process, line.split()[1]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as launched:
        yield launched


def new_page(browser: Browser) -> Page:
    page = browser.new_page()
    page.set_default_timeout(100_000)  # ms, for a machine that may be busy
    return page


class Channel:
    """A channel of this module's own, which may die and come back where it was."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self.process = ServiceProcess("channel", log=log)
        self.address = self.process.address

    def come_back(self) -> None:
        port = self.address.rpartition(":")[2]
        # The later of two flags counts.
        self.process = ServiceProcess("channel", "--port", port, log=self._log)


@pytest.fixture(scope="module")
def own_channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Channel]:
    made = Channel(tmp_path_factory.mktemp("channel") / "log")
    yield made
    made.process.kill()


@pytest.fixture(scope="module")
def url(browser: Browser, services: Services, own_channel: Channel) -> Iterator[str]:
    flags = ["--transmitter", services.transmitter.address]
    flags += ["--receiver", services.receiver.address, "--channel", own_channel.address]
    process, address = start_web(*flags)
    yield address
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in errors


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """A visit, with everything received once; nothing may come from elsewhere."""
    opened = new_page(browser)
    complaints: list[str] = []
    opened.on("console", lambda said: complaints.append(said.text) if said.type == "error" else 0)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    foreign: list[str] = []
    own = (url, url.replace("http", "ws"), "data:", "blob:")
    opened.on(
        "request", lambda asked: 0 if asked.url.startswith(own) else foreign.append(asked.url)
    )
    opened.goto(url)
    card(opened, "DeepJSCC").locator("img").wait_for()
    yield opened
    opened.close()
    assert not foreign
    assert not complaints


def card(page: Page, name: str) -> Locator:
    return page.locator(f"[aria-label='{name}']")


def figure(place: Locator, label: str) -> str:
    return place.locator("dl > div", has_text=label).locator("dd").inner_text()


def picture(page: Page, name: str) -> str:
    return str(card(page, name).locator("img").get_attribute("src"))


def seed(page: Page) -> int:
    return int(page.locator(".seed .note").inner_text().split()[1])


def slide(page: Page, key: str, times: int, until: str) -> None:
    thumb = page.locator(".snr [role=slider] [tabindex]")
    for _ in range(times):
        before = thumb_value(page)
        thumb.press(key)
        wait_for(lambda before=before: thumb_value(page) != before)  # one press a frame, as by hand
    wait_for(lambda: page.locator(".snr .value").inner_text() == until)
    settle(page)


def thumb_value(page: Page) -> str:
    return str(page.locator(".snr [role=slider]").get_attribute("aria-valuenow"))


def settle(page: Page) -> None:
    """Until no answer is under way: the picture is the same for a while."""
    before, quiet = "", 0
    until = time.monotonic() + 100
    while quiet < 4:
        assert time.monotonic() < until
        now = picture(page, "DeepJSCC")
        quiet, before = (quiet + 1, now) if now == before else (0, now)
        page.wait_for_timeout(100)


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def metric(services: Services, name: str, **labels: str) -> float:
    with urllib.request.urlopen(services.receiver.metrics_url) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    samples = [s for family in families for s in family.samples if s.name == name]
    return sum(s.value for s in samples if labels.items() <= s.labels.items())


def test_a_sample_is_received_as_the_link_receives_it(page: Page, bundles: Path) -> None:
    sent = load_square(sample_scenes()[0], 64)
    with LocalLink(bundles=bundles) as local:
        expected = local.send(sent, snr_db=0, rate="1/48", seed=seed(page))
    quality = psnr_db(sent, expected.image)
    assert figure(card(page, "DeepJSCC"), "PSNR") == f"{quality:.2f} dB"
    assert 0 <= float(figure(card(page, "DeepJSCC"), "MS-SSIM")) <= 1
    assert float(figure(card(page, "DeepJSCC"), "ST-LPIPS")) > 0
    measured = page.locator(".snr .small").inner_text()
    assert measured == f"measured {expected.measured_snr_db:+.2f} dB"
    assert figure(card(page, "Original"), "symbols k") == "256"
    dots = page.locator(".scatter .dots").all()
    assert [str(one.get_attribute("d")).count("h0") > 200 for one in dots] == [True, True]
    assert "no GenerativeJSCC model" in card(page, "GenerativeJSCC").inner_text()
    assert page.locator(".lamp.lit").count() == 3


def value(page: Page) -> float:
    return float(thumb_value(page))


def test_the_slider_follows_a_mouse_and_a_finger(page: Page, browser: Browser, url: str) -> None:
    box = page.locator(".snr [role=slider]").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    for part in (0.6, 0.7, 0.9):
        page.mouse.move(box["x"] + part * box["width"], middle)
    page.mouse.up()
    wait_for(lambda: value(page) > 10)
    settle(page)
    page.mouse.click(box["x"] + 0.1 * box["width"], middle)
    wait_for(lambda: value(page) < -8)
    settle(page)
    assert page.locator(".snr .value").inner_text() == f"{value(page):+.1f} dB"
    phone = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True)
    touched = phone.new_page()
    touched.set_default_timeout(100_000)
    touched.goto(url)
    card(touched, "DeepJSCC").locator("img").wait_for()
    slider = touched.locator(".snr [role=slider]")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box is not None
    assert box["width"] > 200
    touched.touchscreen.tap(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
    wait_for(lambda: value(touched) > 10)
    # Nothing is wider than the screen.
    assert touched.evaluate("document.documentElement.scrollWidth") <= 390
    phone.close()


def test_a_link_shows_others_the_same(page: Page, browser: Browser) -> None:
    slide(page, "ArrowRight", 4, "+2.0 dB")
    page.get_by_role("button", name="1/192").click()
    wait_for(lambda: "rate=1%2F192" in page.url and "snr_db=2" in page.url)
    settle(page)
    other = new_page(browser)
    other.goto(page.url)
    wait_for(lambda: seed(other) == seed(page))
    settle(other)
    assert picture(other, "DeepJSCC") == picture(page, "DeepJSCC")
    other.close()


def test_a_picture_is_saved(page: Page) -> None:
    with page.expect_download() as saved:
        card(page, "DeepJSCC").get_by_role("button", name="Save picture").click()
    assert re.match(r"tiny-multi_deepjscc_1-48_awgn_0dB", saved.value.suggested_filename)


def test_the_page_has_a_language_names_and_headings_in_order(page: Page) -> None:
    assert page.locator("html").get_attribute("lang") == "en-US"
    levels = page.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4')].map(h => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    upload = page.locator("input[type=file]")
    wait_for(lambda: upload.get_attribute("aria-label") == "photo from a file")
    assert ".webp" in str(upload.get_attribute("accept"))


def test_the_slider_replays_the_same_noise(page: Page) -> None:
    first, number = picture(page, "DeepJSCC"), seed(page)
    slide(page, "ArrowRight", 6, "+3.0 dB")
    louder = picture(page, "DeepJSCC")
    slide(page, "ArrowLeft", 6, "+0.0 dB")
    assert picture(page, "DeepJSCC") == first != louder
    assert seed(page) == number
    page.get_by_role("button", name="New noise").click()
    wait_for(lambda: seed(page) != number)
    settle(page)
    assert picture(page, "DeepJSCC") != first


def test_model_rate_and_channel_are_chosen(page: Page) -> None:
    page.get_by_role("button", name="1/768").click()
    wait_for(lambda: figure(card(page, "Original"), "symbols k") == "16")
    page.get_by_role("button", name="Rician").click()
    page.get_by_label("Symbols per gain").wait_for()
    page.get_by_role("button", name="Noiseless").click()
    wait_for(lambda: page.locator(".snr .small").inner_text() == "nothing was added")
    page.get_by_label("model").click()
    page.get_by_role("option", name=SINGLE).click()
    wait_for(lambda: card(page, "DeepJSCC").locator(".model").inner_text() == SINGLE)
    assert figure(card(page, "Original"), "rho") == "1/192"


def test_a_photo_is_uploaded_and_a_bad_one_refused(page: Page, tmp_path: Path) -> None:
    good, bad = tmp_path / "mine.webp", tmp_path / "notes.png"
    good.write_bytes(file_of(gradient(90, 120), "WEBP"))
    bad.write_text("<b>no</b> picture")
    bomb, huge = tmp_path / "bomb.png", tmp_path / "huge.png"
    bomb.write_bytes(png_bomb(50_000, 50_000))
    huge.write_bytes(bytes(33 * 1024 * 1024))
    upload, banner = page.locator("input[type=file]"), page.get_by_role("alert")
    before = picture(page, "Original")
    for file, sentence in (
        (bad, "notes.png: got 17 bytes that are not a PNG, JPEG or WebP file."),
        (bomb, "bomb.png: "),
        (huge, "Photo: must be a PNG, JPEG or WebP file of at most 32 MB."),
    ):
        upload.set_input_files(file)
        banner.get_by_text(sentence).wait_for()
        assert picture(page, "Original") == before
    upload.set_input_files(good)
    wait_for(lambda: picture(page, "Original") != before)
    settle(page)
    assert not banner.is_visible()
    assert re.match(r"\d+\.\d\d dB", figure(card(page, "DeepJSCC"), "PSNR"))


@contextmanager
def slowed(service: ServiceProcess) -> Iterator[None]:
    """Lets a service run for a quarter of the time: what takes it a second takes four."""
    done = threading.Event()

    def pulses() -> None:
        while not done.wait(0.025):
            service.process.send_signal(signal.SIGSTOP)
            done.wait(0.075)
            service.process.send_signal(signal.SIGCONT)

    thread = threading.Thread(target=pulses)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("way", ["stop button", "another setting", "closed tab"])
def test_stopping_an_inversion_stops_the_receiver(
    browser: Browser, url: str, services: Services, way: str
) -> None:
    def ended() -> float:
        return metric(services, "genjscc_inversions_total", outcome="cancelled")

    before, page = ended(), new_page(browser)
    page.goto(url)
    card(page, "DeepJSCC").locator("img").wait_for()
    page.get_by_role("button", name="paper").click()
    with slowed(services.receiver):
        page.get_by_role("button", name="Refine").click()
        state = card(page, "InverseJSCC").get_by_role("status")
        state.get_by_text(re.compile(r"step \d+ of 150")).wait_for()
        if way == "stop button":
            page.get_by_role("button", name="Stop").click()
            state.get_by_text(re.compile(r"stopped at step \d+ of 150")).wait_for()
            assert page.get_by_role("button", name="Refine").is_visible()
        elif way == "another setting":
            page.get_by_role("button", name="1/192").click()
        else:
            page.close()
    wait_for(lambda: ended() == before + 1)
    assert metric(services, "genjscc_active_inversions") == 0
    if not page.is_closed():
        page.close()


def test_an_inversion_ends_with_a_reception(page: Page) -> None:
    page.get_by_role("button", name="Refine").click()
    state = card(page, "InverseJSCC").get_by_role("status")
    state.get_by_text("done after 8 steps").wait_for()
    assert re.match(r"\d+\.\d\d dB", figure(card(page, "InverseJSCC"), "PSNR"))
    assert card(page, "InverseJSCC").locator(".model").inner_text() == "tiny-multi"


def test_a_service_that_is_down_is_named_and_found_again(page: Page, own_channel: Channel) -> None:
    own_channel.process.kill()
    page.get_by_role("button", name="New noise").click()
    banner = page.get_by_role("alert")
    banner.get_by_text(f"The channel at {own_channel.address} does not answer").wait_for()
    page.locator(".lamp.dark", has_text="channel").wait_for()
    own_channel.come_back()
    banner.wait_for(state="hidden")
    settle(page)
    assert page.locator(".lamp.lit").count() == 3


def test_it_starts_services_of_its_own_and_takes_them_along(bundles: Path) -> None:
    process, url = start_web("--bundles", str(bundles))
    with urllib.request.urlopen(url) as answer:
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "GenJSCC" in answer.read().decode()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    assert process.returncode == 143
    assert "Traceback" not in errors
    with pytest.raises(OSError):  # noqa: PT011 (refused, or reset)
        urllib.request.urlopen(url, timeout=60)


def test_a_taken_port_is_one_line(url: str) -> None:
    port = url.rpartition(":")[2]
    done: Any = subprocess.run(
        [sys.executable, "-m", "genjscc", "web", "--connect", "--port", port],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    assert done.returncode == 1
    assert f"cannot listen at 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr
