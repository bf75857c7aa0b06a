# SPDX-License-Identifier: Apache-2.0
"""Every public call with values of wrong types: refused by name, never taken for something else."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genjscc import (
    AsyncLink,
    Awgn,
    Codeword,
    Fading,
    Failure,
    InversionOptions,
    Link,
    LocalLink,
    Noiseless,
    Ofdm,
    Options,
    PluginChannel,
    Security,
    load_sigmf,
    save_sigmf,
)
from genjscc.client import protocol
from genjscc.client.keywords import options_for
from genjscc.client.validation import checked_options
from genjscc.errors import GenJSCCError, InvalidInputError, ModelNotFoundError
from tests.helpers.pictures import gradient
from tests.helpers.tiny_bundles import MULTI

NOBODY = "127.0.0.1:9"
NOBODIES = dict.fromkeys(("transmitter", "channel", "receiver"), NOBODY)
JUNK: list[Any] = [object(), [], {}, b"x", 1 + 2j, Fading, Awgn, math.nan, True, "nonsense"]

# For each field of `Options`: values that are not of its type. "nonsense" is a good model's name.
WRONG: dict[str, list[Any]] = {
    "snr_db": [*JUNK, None, math.inf, "3", np.zeros(2)],
    "rate": [*JUNK, 0, -0.5, 2, math.inf, Fraction(3, 2), Fraction(1, 10**9), "1/0"],
    "model": [*JUNK[:-1], 5],
    "scheme": [*JUNK, 5, "DeepJSCC"],
    "seed": [*JUNK, 1.0, "7", -1, 2**63],
    "channel": [*JUNK, None, 5, Noiseless, "AWGN", Options()],
    "told_snr_db": [*JUNK, "3", math.inf],
    "snr": [*JUNK, None, 5, "told"],
    "inversion": [*JUNK, InversionOptions, "fast", {"preset": "fast"}],
}
WRONG_CHANNELS: list[Any] = [
    Fading(k_factor="large"),  # type: ignore[arg-type]
    Fading(k_factor=True),
    Fading(block_length=1.5),  # type: ignore[arg-type]
    Fading(block_length=-1),
    Fading(block_length=2**32),
    Fading(equalize_at="sender"),  # type: ignore[arg-type]
    Ofdm("tdl-f"),  # type: ignore[arg-type]
    Ofdm(estimation="guess"),  # type: ignore[arg-type]
    Ofdm(delay_spread_ns="long"),  # type: ignore[arg-type]
    Ofdm(fft_size=64.5),  # type: ignore[arg-type]
    Ofdm(pilot_spacing=-4),
    Ofdm(clipping_db=True),
    Ofdm(cfo=None),  # type: ignore[arg-type]
    PluginChannel(5),  # type: ignore[arg-type]
    PluginChannel("mine", ["a"]),  # type: ignore[arg-type]
    PluginChannel("mine", {"a": "b"}),  # type: ignore[dict-item]
]


def codeword(**changes: Any) -> Codeword:
    good = Codeword(np.ones(64, np.complex64), "0" * 16, Fraction(1, 48), (32, 32))
    return dataclasses.replace(good, **changes)


@pytest.fixture(scope="module")
def local(bundles: Path) -> LocalLink:
    return LocalLink(bundles=bundles)


@pytest.fixture(params=["LocalLink", "Link"])
def link(request: pytest.FixtureRequest, local: LocalLink) -> Iterator[Any]:
    """A wrong type is found before anything is sent: nobody listens to the second one."""
    if request.param == "LocalLink":
        yield local
        return
    with Link(**NOBODIES) as connected:
        yield connected


def test_the_walk_knows_every_option() -> None:
    assert set(WRONG) == {field.name for field in dataclasses.fields(Options)}


def named(value: Any) -> str:
    """Return an id without an address: processes that share the tests compare their names."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


CASES = [(name, value) for name, values in WRONG.items() for value in values]
CASES += [("channel", value) for value in WRONG_CHANNELS]


@pytest.mark.parametrize(("name", "value"), CASES, ids=named)
def test_every_call_refuses_every_wrong_option(name: str, value: Any, link: Any) -> None:
    calls = {
        "send": lambda: link.send(gradient(), **{name: value}),
        "encode": lambda: link.encode(gradient(), **{name: value}),
        "transmit": lambda: link.transmit(codeword(), **{name: value}),
        "decode": lambda: link.decode(codeword(), **{name: value}),
        "watch": lambda: next(iter(link.watch(gradient(), **{name: value}))),
    }
    texts = set()
    for call, make in calls.items():
        if isinstance(value, PluginChannel) and value.name == "mine" and call != "transmit":
            continue  # its parameters are told to the channel, whom the others ask later or never
        with pytest.raises(InvalidInputError) as caught:
            make()
        assert caught.value.field.startswith(name), call
        texts.add(str(caught.value))
    assert len(texts) == 1
    if name == "snr_db" and isinstance(value, list | np.ndarray):
        return  # one for each image
    if not (isinstance(value, PluginChannel) and value.name == "mine"):
        (failure,) = link.send_many([gradient()], **{name: value})
        assert isinstance(failure, Failure)
        assert {str(failure.error)} == texts


IMAGES: list[Any] = [None, 5, 1.5, object(), [gradient()], Fading, (1, 2), "/no/such/file"]


@pytest.mark.parametrize("image", IMAGES, ids=named)
def test_no_call_takes_something_else_for_an_image(image: Any, link: Any) -> None:
    for make in (
        lambda: link.send(image),
        lambda: link.encode(image),
        lambda: next(iter(link.watch(image))),
    ):
        with pytest.raises(InvalidInputError, match="image: "):
            make()
    (failure,) = link.send_many([image])
    assert str(failure.error).startswith("image: ")


@pytest.mark.parametrize(
    "images",
    [
        *("photo.png", b"bytes", Path("photo.png"), gradient(), gradient()[..., 0]),
        *(torch.zeros(3, 8, 8), torch.zeros(8, 8), 5, None, Fading),
    ],
    ids=lambda images: type(images).__name__,
)
def test_one_image_is_not_taken_for_many(images: Any, link: Any) -> None:
    with pytest.raises(InvalidInputError, match="images: got"):
        list(link.send_many(images))


def test_batches_are_many(local: LocalLink) -> None:
    for batch in (np.zeros((2, 16, 16, 3), np.uint8), np.zeros((2, 16, 16), np.uint8)):
        assert [one.image.shape for one in local.send_many(batch)] == [(16, 16, 3)] * 2
    assert len(list(local.send_many(torch.zeros(2, 3, 16, 16)))) == 2


BROKEN: list[Any] = [
    *(None, 5, "codeword", np.ones(4, np.complex64), Codeword),
    codeword(symbols=[1, 2]),
    codeword(symbols=np.ones((2, 2), np.complex64)),
    codeword(pair_id=5),
    codeword(bandwidth_ratio="1/48"),
    codeword(image_size=32),
    codeword(image_size=(32, 0)),
    codeword(image_size=(32.5, 32)),
    codeword(snr_db="high"),
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda value: type(value).__name__)
def test_what_is_no_codeword_is_refused(broken: Any, link: Any, tmp_path: Path) -> None:
    for make, field in (
        (lambda: link.transmit(broken), "codeword"),
        (lambda: link.decode(broken), "received"),
        (lambda: save_sigmf(broken, tmp_path / "x"), "codeword"),
    ):
        with pytest.raises(InvalidInputError) as caught:
            make()
        assert caught.value.field.startswith(field)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [*JUNK, -1, 1.5, "5", None])
def test_previews_are_counted(value: Any, link: Any) -> None:
    if not isinstance(link, LocalLink):  # asked after two hops
        return
    with pytest.raises(InvalidInputError, match="preview_every"):
        next(iter(link.watch(gradient(64, 64), preview_every=value)))


CONSTRUCTORS: dict[type, dict[str, list[Any]]] = {
    Link: {
        **{role: [5, b"a:1", Fading, ["a:1"]] for role in NOBODIES},
        "timeout_s": [*JUNK, 0, -1, None, "60"],
        "security": [5, "token", Security, {}],
        "retries": [None, 1, "no"],
    },
    LocalLink: {
        "bundles": [5, b"models", Fading],
        "model": [5, b"faces64", Fading],
        "device": [5, None, Fading, "no such device"],
        "dtype": [5, None, "float16"],
        "threads": [0, -1, "many", None, 1.5],
        "max_batch": [0, -1, "many", None, 1.5, True],
        "plugins": [5, ["f"], "module:function"],
    },
    Security: {
        "tls": [None, 1, "yes"],
        **{file: [5, b"x", Fading] for file in ("ca", "certificate", "key")},
        "server_name": [None, 5],
        "token": [None, 5, b"secret"],
        "token_in_clear": [None, 1, "yes"],
        "proxy": [None, 1, "yes"],
    },
}


@pytest.mark.parametrize("kind", CONSTRUCTORS)
def test_constructors_refuse_wrong_types(kind: type) -> None:
    cases = CONSTRUCTORS[kind]
    assert set(cases) == set(inspect.signature(kind).parameters)
    assert inspect.signature(Link).parameters == inspect.signature(AsyncLink).parameters
    for name, values in cases.items():
        for value in values:
            with pytest.raises(InvalidInputError) as caught:
                kind(**{name: value})
            assert caught.value.field == name, value


def test_files_of_security_may_be_text() -> None:
    assert Security(ca="ca.pem").ca == Path("ca.pem")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [5, b"x", None, Fading])
def test_paths_of_recordings(value: Any) -> None:
    for make in (lambda: load_sigmf(value), lambda: save_sigmf(codeword(), value)):
        with pytest.raises(InvalidInputError, match="path: got"):
            make()
    with pytest.raises(InvalidInputError, match="like: got"):
        load_sigmf("x", like=value or 5)
    with pytest.raises(InvalidInputError, match="description: got"):
        save_sigmf(codeword(), "x", description=value)


@pytest.mark.parametrize("name", ["photo", "photo.nothing", "no/such/folder/photo.png"])
def test_a_reception_that_cannot_be_written_is_told(
    name: str, local: LocalLink, tmp_path: Path
) -> None:
    reception = local.send(gradient())
    with pytest.raises(InvalidInputError, match="path: cannot write"):
        reception.save(tmp_path / name)
    with pytest.raises(InvalidInputError, match="path: got 5"):
        reception.save(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        *((1 / 48, "1/48"), (Fraction(1, 48), "1/48"), ("1/48", "1/48"), (0.0208, "13/625")),
        *((np.float32(1 / 192), "1/192"), (Decimal(1) / 768, "1/768"), (1, "1/1"), (None, None)),
    ],
)
def test_rates_as_people_write_them(given: Any, meant: str | None) -> None:
    assert checked_options(Options(rate=given)).rate == meant


def test_a_rate_that_is_not_on_offer_is_refused_by_name(local: LocalLink) -> None:
    with pytest.raises(ModelNotFoundError, match=r"got '13/625'.* offers 1/768, 1/192, 1/48"):
        local.send(gradient(), rate=0.0208)
    same = [local.send(gradient(), rate=rate, seed=1).image for rate in (1 / 48, "1/48")]
    np.testing.assert_array_equal(*same)


@pytest.mark.parametrize(
    ("name", "channel"),
    [
        *(("awgn", Awgn()), ("rayleigh", Fading()), ("rician", Fading(4.0))),
        ("noiseless", Noiseless()),
    ],
)
def test_channels_by_name(name: str, channel: Any, local: LocalLink) -> None:
    assert options_for({"channel": name}).channel == channel
    by_name, by_object = (local.send(gradient(), seed=3, channel=c) for c in (name, channel))
    np.testing.assert_array_equal(by_name.image, by_object.image)
    assert by_name.transmission.seed == by_object.transmission.seed


def test_numbers_of_every_library_are_numbers(local: LocalLink) -> None:
    for value in (3, 3.0, np.float32(3), np.int64(3), torch.tensor(3.0), Fraction(3), Decimal(3)):
        options = options_for({"snr_db": value, "seed": np.int64(3)})  # type: ignore[typeddict-item]
        assert (options.snr_db, options.seed) == (3.0, 3)
        assert type(options.snr_db) is float


def test_networks_are_told_what_they_know_and_that_is_said_once(
    local: LocalLink, caplog: pytest.LogCaptureFixture
) -> None:
    protocol._remark_assumed.cache_clear()
    with caplog.at_level(logging.WARNING, logger="genjscc"):
        beyond = [local.send(gradient(), snr_db=40.0, seed=1, model=MULTI) for _ in range(3)]
        end = local.send(gradient(), snr_db=40.0, told_snr_db=5.0, seed=1, model=MULTI)
        list(local.send_many([gradient()], snr_db=40.0, model=MULTI))
    np.testing.assert_array_equal(beyond[0].image, end.image)
    assert beyond[0].codeword.snr_db == 5.0
    assert beyond[0].measured_snr_db > 35
    assert caplog.messages == [
        f"snr_db: got 40; model '{MULTI}' was trained up to 5 dB, which is used instead"
    ]
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="genjscc"):
        local.encode(gradient(), snr_db=-20.0, model=MULTI)
        local.encode(gradient(), snr_db=5.0, model=MULTI)
    assert len(caplog.messages) == 1
    assert "from -5 dB on" in caplog.messages[0]


def test_a_decoder_is_told_what_it_knows(local: LocalLink) -> None:
    sent = local.encode(gradient())
    far, end = (local.decode(sent, snr_db=snr_db) for snr_db in (60.0, 5.0))
    np.testing.assert_array_equal(far, end)
    assert (far != local.decode(sent, snr_db=-5.0)).any()


async def test_no_limit_is_a_time_limit_too() -> None:
    async with AsyncLink(**NOBODIES, timeout_s=math.inf) as link:
        with pytest.raises(GenJSCCError, match="transmitter at"):
            await link.send(gradient())
        with pytest.raises(GenJSCCError, match="transmitter at"):
            await link.models()
