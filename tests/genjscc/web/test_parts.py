# SPDX-License-Identifier: Apache-2.0
"""The page's parts that need no browser."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import numpy as np
import pytest

from genjscc.client.availability import places
from genjscc.client.options import ModelInfo
from genjscc.errors import DeadlineError, GenJSCCError, InvalidInputError, UnavailableError
from genjscc.quality.psnr import psnr_db
from genjscc.web.coalesce import Latest
from genjscc.web.constellation import MOST_POINTS, scatter, span_of
from genjscc.web.messages import sentence
from genjscc.web.quality import Judge
from genjscc.web.server import Guard
from tests.helpers.pictures import gradient, noise


def model(name: str, scheme: Any = "deepjscc", **changes: Any) -> ModelInfo:
    fields: dict[str, Any] = {
        "bandwidth_ratios": ("1/192", "1/48"),
        "domain": "faces",
        "image_size": 64,
        "schemes": (scheme,),
    }
    fields |= changes
    return ModelInfo(name, scheme, f"pair of {name}", snr_db=(-5, 5), is_default=False, **fields)


FACES, TREES = model("faces"), model("trees", domain="trees")
PAINTER = model("painter", "generative", bandwidth_ratios=("1/48",))


def names(found: Any) -> dict[str, str | None]:
    return {scheme: place.model and place.model.name for scheme, place in found.items()}


def test_the_chosen_model_stands_for_its_scheme_and_its_like_for_the_other() -> None:
    models = [TREES, FACES, PAINTER]
    can = [model("faces", schemes=("deepjscc", "inverse")), TREES, PAINTER]
    everything = {"deepjscc": "faces", "generative": "painter", "inverse": "faces"}
    assert names(places(models, can, FACES, "1/48", 64)) == everything
    assert names(places(models, can, PAINTER, "1/48", 64)) == everything
    assert names(places(models, can, TREES, "1/48", 64)) == {
        "deepjscc": "trees",
        "generative": "painter",
        "inverse": None,
    }


@pytest.mark.parametrize(
    ("models", "decoders", "rate", "side", "scheme", "reason"),
    [
        ([FACES], [FACES], "1/48", 64, "generative", "no GenerativeJSCC model at the transmitter"),
        ([FACES], [FACES], "1/48", 64, "inverse", "no StyleGAN2 generator"),
        ([FACES], [TREES], "1/48", 64, "deepjscc", "no decoder of a DeepJSCC"),
        ([FACES], [TREES], "1/48", 64, "inverse", "no decoder of a DeepJSCC"),
        ([FACES, PAINTER], [FACES, PAINTER], "1/192", 64, "generative", "not offer rho = 1/192"),
        ([FACES, PAINTER], [FACES, PAINTER], "1/48", 128, "generative", "64x64 pixels only"),
    ],
)
def test_what_is_not_on_offer_says_why(
    models: Any, decoders: Any, rate: str, side: int, scheme: Any, reason: str
) -> None:
    place = places(models, decoders, FACES, rate, side)[scheme]
    assert place.model is None
    assert reason in place.reason
    assert place.reason.endswith(".")


def test_a_scatter_plot_shows_each_symbol_where_it_is() -> None:
    symbols = np.array([1 + 2j, -3 - 1j, 100j], np.complex64)
    drawn = scatter(symbols, 4.0, "some")
    dots = re.findall(r"M([\d.]+) ([\d.]+)h0", drawn)
    assert [(float(x) / 30 - 4, 4 - float(y) / 30) for x, y in dots] == [(1, 2), (-3, -1)]
    many = np.zeros(100_000, np.complex64)
    assert scatter(many, 3.0, "many").count("h0") == MOST_POINTS
    assert span_of(many) == 3
    assert span_of(many, symbols[:2]) == 3
    assert span_of(symbols[:1] * 10) == 20


async def test_requests_replace_each_other_and_the_last_one_counts() -> None:
    seen: list[int] = []
    value, free = 0, asyncio.Event()

    async def work() -> None:
        at = value
        await free.wait()
        seen.append(at)

    latest = Latest(work)
    for _ in range(5):
        value += 1
        latest.ask()
        await asyncio.sleep(0)
    free.set()
    while len(seen) < 2:
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    assert seen == [1, 5]


def test_figures_are_those_of_the_evaluator() -> None:
    original, received = gradient(64, 64), noise(64, 64)
    judge = Judge(original)
    quality = judge(received)
    assert quality["PSNR"] == f"{psnr_db(original, received):.2f} dB"
    assert list(quality) == ["PSNR", "MS-SSIM", "ST-LPIPS"]
    same = judge(original)
    assert (same["PSNR"], same["MS-SSIM"], same["ST-LPIPS"]) == ("inf dB", "1.000", "0.000")
    assert float(quality["MS-SSIM"]) < 0.2 < float(quality["ST-LPIPS"])


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            UnavailableError("receiver at 10.0.0.1:50053: failed to connect to all addresses"),
            "The receiver at 10.0.0.1:50053 does not answer; this page tries again by itself.",
        ),
        (
            DeadlineError("channel at c:1: Deadline Exceeded"),
            "The channel at c:1 took too long; it may be busy.",
        ),
        (InvalidInputError("image.encoded", "is empty"), "Image: is empty."),
        (GenJSCCError("something new"), "Something new."),
    ],
)
def test_errors_are_a_sentence(error: GenJSCCError, text: str) -> None:
    assert sentence(error) == text


async def guarded(headers: dict[str, str], kind: str = "http", *, only_here: bool = True) -> Any:
    """The status or close code of a request; None: it came through."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": kind, "headers": [(k.encode(), v.encode()) for k, v in headers.items()]}
    await Guard(app, only_here=only_here)(scope, None, send)
    if not sent:
        return None
    if sent[0]["type"] == "websocket.close":
        return sent[0]["code"]
    assert any(b"default-src 'self'" in value for _, value in sent[0]["headers"])
    return sent[0]["status"]


async def test_foreign_pages_names_and_long_bodies_stay_out() -> None:
    here = {"host": "127.0.0.1:8080"}
    assert await guarded(here) == 200
    assert await guarded(here | {"origin": "http://127.0.0.1:8080"}, "websocket") is None
    assert await guarded(here | {"origin": "http://evil.example"}, "websocket") == 1008
    assert await guarded(here | {"origin": "null"}) == 403
    assert await guarded({"host": "evil.example"}) == 421
    for half in ("[::1", "[", "127.0.0.1:8080]["):
        assert await guarded({"host": half}) == 400
        assert await guarded(here | {"origin": f"http://{half}"}) == 400
    assert await guarded({"host": "lab.example"}, only_here=False) == 200
    assert await guarded(here | {"content-length": str(2**26)}) == 413
    assert await guarded(here | {"transfer-encoding": "chunked"}) == 411
