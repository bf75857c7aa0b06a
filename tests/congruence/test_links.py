# SPDX-License-Identifier: Apache-2.0
"""One list of scenarios for Link, AsyncLink and LocalLink: near and far must agree."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from genjscc import (
    AsyncLink,
    Fading,
    Failure,
    Link,
    LocalLink,
    Noiseless,
    Ofdm,
    PluginChannel,
    Reception,
)
from genjscc.errors import (
    CancelledCallError,
    GenJSCCError,
    InvalidInputError,
    ModelNotFoundError,
    UnsupportedError,
    WrongPairError,
)
from tests.helpers.pictures import file_of, gradient, noise
from tests.helpers.real_services import Services
from tests.helpers.tiny_bundles import MULTI, SINGLE


class Waited:
    """AsyncLink for this file: each method is run to its end."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self._runner = asyncio.Runner()
        self._link = AsyncLink(**addresses)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._link, name)
        return lambda *args, **keywords: self._runner.run(method(*args, **keywords))

    def send_many(self, *args: Any, **keywords: Any) -> Iterator[Any]:
        outcomes = self._link.send_many(*args, **keywords)
        while (outcome := self._runner.run(anext(outcomes, None))) is not None:  # type: ignore[arg-type]
            yield outcome

    def close(self) -> None:
        self._runner.run(self._link.aclose())
        self._runner.close()


@pytest.fixture(scope="module")
def local(bundles: Path) -> LocalLink:
    return LocalLink(bundles=bundles)


@pytest.fixture(scope="module", params=["Link", "AsyncLink"])
def remote(request: pytest.FixtureRequest, services: Services) -> Iterator[Any]:
    kind = {"Link": lambda a: Link(**a), "AsyncLink": Waited}[request.param]
    link = kind(services.addresses)
    yield link
    link.close()


def turned() -> Image.Image:
    exif = Image.Exif()
    exif[0x0112] = 8
    image = Image.fromarray(gradient(20, 33))
    image.info["exif"] = exif.tobytes()
    image._exif = exif  # type: ignore[attr-defined]
    return image


IMAGES: dict[str, Callable[[Path], Any]] = {
    "path": lambda folder: folder / "photo.png",
    "path as text": lambda folder: str(folder / "photo.png"),
    "bytes": lambda _: file_of(gradient(31, 50), "JPEG"),
    "array": lambda _: noise(48, 33),
    "view": lambda _: noise(40, 40)[::-1, ::2],
    "Pillow": lambda _: Image.fromarray(gradient(17, 70)).convert("RGBA"),
    "Pillow, turned": lambda _: turned(),
    "one pixel": lambda _: noise(1, 1),
}

SCENARIOS: list[dict[str, Any]] = [
    {},
    {"snr_db": -5.0, "rate": "1/768"},
    {"snr_db": 12, "rate": "1/192"},
    {"model": SINGLE},
    {"scheme": "deepjscc"},
    {"channel": Noiseless()},
    {"channel": Fading()},
    {"channel": Fading(block_length=8)},
    {"channel": Fading(k_factor=3.0, block_length=5, equalize_at="receiver")},
    {"channel": "tdl-a"},
    {"channel": Ofdm("tdl-d", speed_mps=30.0, estimation="ls"), "snr": "estimated"},
    {"channel": Fading(block_length=8, equalize_at="receiver"), "snr": "estimated"},
    {"snr": "estimated", "told_snr_db": -5.0},
    {"told_snr_db": 10.0},
    {"seed": 2**63 - 1},
]


def assert_same(near: Reception, far: Reception) -> None:
    np.testing.assert_array_equal(far.image, near.image)
    assert_close(near, far)
    np.testing.assert_array_equal(far.codeword.symbols, near.codeword.symbols)
    received, expected = far.transmission.received, near.transmission.received
    np.testing.assert_array_equal(received.symbols, expected.symbols)
    assert far.measured_snr_db == near.measured_snr_db


def assert_close(near: Reception, far: Reception) -> None:
    assert np.abs(far.image.astype(int) - near.image).max() <= 1
    for name in ("pair_id", "bandwidth_ratio", "image_size", "snr_db", "k"):
        assert getattr(far.codeword, name) == getattr(near.codeword, name)
    assert (far.seed, far.model) == (near.seed, near.model)
    assert far.transmission.block_length == near.transmission.block_length
    assert far.decoder_snr_db == pytest.approx(near.decoder_snr_db, abs=1e-3)
    assert far.transmission.channel_uses == near.transmission.channel_uses
    reports = far.transmission.ofdm, near.transmission.ofdm
    if reports[0] is not None or reports[1] is not None:
        one, other = (dataclasses.asdict(report) for report in reports if report is not None)
        assert one == pytest.approx(other, abs=1e-3)
    assert far.seconds.keys() == near.seconds.keys() == far.compute_seconds.keys()
    gains, expected = far.transmission.gains, near.transmission.gains
    assert (gains is None) == (expected is None)
    if gains is not None and expected is not None:
        np.testing.assert_array_equal(gains, expected)


@pytest.mark.parametrize("kind", IMAGES)
def test_every_kind_of_image(kind: str, local: LocalLink, remote: Any, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(file_of(gradient(48, 40)))
    make = IMAGES[kind]
    near = local.send(make(tmp_path), seed=1)
    assert near.image.shape == (*near.codeword.image_size, 3)
    if kind == "Pillow, turned":
        assert near.codeword.image_size == (33, 20)
    assert_same(near, remote.send(make(tmp_path), seed=1))


@pytest.mark.parametrize("options", SCENARIOS, ids=str)
def test_every_option(options: dict[str, Any], local: LocalLink, remote: Any) -> None:
    keywords = {"seed": 7} | options
    near, far = (link.send(gradient(), **keywords) for link in (local, remote))
    assert_same(near, far)
    assert near.seed == keywords["seed"]
    assert near.codeword.power == pytest.approx(1.0, rel=1e-6)
    again = remote.send(gradient(), **(keywords | {"seed": 8}))
    if options.get("channel") != Noiseless():
        assert (again.image != far.image).any()


@pytest.mark.parametrize("options", SCENARIOS, ids=str)
def test_streams_agree_with_single_calls(
    options: dict[str, Any], local: LocalLink, remote: Any
) -> None:
    if options.get("seed"):
        options = options | {"seed": 100}
    keywords = {"seed": 7} | options
    pictures = [noise(20 + 7 * (i % 3), 30, i) for i in range(9)]
    near, far = (list(link.send_many(pictures, **keywords)) for link in (local, remote))
    assert len(near) == len(far) == 9
    for index, (one, other) in enumerate(zip(near, far, strict=True)):
        assert_close(one, other)
        single = local.send(pictures[index], **(keywords | {"seed": keywords["seed"] + index}))
        assert_close(single, other)


@pytest.mark.parametrize("snr_db", [[-5.0, 0.0, 20.0], np.array([-5.0, 0.0, 20.0])])
def test_each_image_of_a_stream_has_its_own_snr(snr_db: Any, local: LocalLink, remote: Any) -> None:
    for link in (local, remote):
        outcomes = list(link.send_many([gradient(64, 64)] * 4, snr_db=snr_db, seed=1))
        for outcome, asked in zip(outcomes, snr_db, strict=False):
            assert outcome.codeword.snr_db == min(asked, 5.0)  # as far as it was trained
            assert outcome.measured_snr_db == pytest.approx(asked, abs=1.5)
        assert isinstance(outcomes[3], Failure)  # three values for four images
        assert "snr_db: got 3 values" in str(outcomes[3].error)


def test_no_seed_draws_another_one_each_time(local: LocalLink, remote: Any) -> None:
    for link in (local, remote):
        first, second = link.send(gradient()), link.send(gradient())
        assert first.seed != second.seed
        assert_same(first, local.send(gradient(), seed=first.seed))


def test_hops_one_by_one_are_the_whole(local: LocalLink, remote: Any) -> None:
    options = {"snr_db": 3.0, "seed": 4, "channel": Fading(equalize_at="receiver")}
    whole = local.send(gradient(), **options)
    for link in (local, remote):
        codeword = link.encode(gradient(), **options)
        transmission = link.transmit(codeword, **options)
        np.testing.assert_array_equal(link.decode(transmission, **options), whole.image)


def test_who_equalises_makes_no_difference_to_the_image(local: LocalLink, remote: Any) -> None:
    for link in (local, remote):
        at_channel, at_receiver = (
            link.send(gradient(), seed=4, channel=Fading(block_length=8, equalize_at=place))
            for place in ("channel", "receiver")
        )
        assert np.abs(at_channel.image.astype(int) - at_receiver.image).max() <= 1
        sent_on = (r.transmission.received.symbols for r in (at_channel, at_receiver))
        assert not np.allclose(*sent_on, atol=0.1)
        assert at_channel.transmission.gains is None
        assert at_receiver.transmission.gains is not None


def test_models_are_the_same(local: LocalLink, remote: Any) -> None:
    assert remote.models() == local.models()
    assert [m.name for m in local.models()] == [MULTI, SINGLE]
    remote.wait_ready(10)
    local.wait_ready()


def test_the_receiver_tells_how_it_can_decode(local: LocalLink, remote: Any) -> None:
    decoders = remote.decoders()
    assert decoders == local.decoders()
    assert {d.name: d.schemes for d in decoders} == dict.fromkeys(
        (MULTI, SINGLE), ("deepjscc", "inverse")
    )
    assert [d.pair_id for d in decoders] == [m.pair_id for m in remote.models()]


ERRORS: list[tuple[dict[str, Any], type[GenJSCCError], str]] = [
    ({"model": "nobody"}, ModelNotFoundError, "model: got 'nobody'"),
    ({"rate": "1/47"}, ModelNotFoundError, "bandwidth_ratio: got '1/47'"),
    ({"rate": "fast"}, InvalidInputError, "rate: got 'fast'"),
    ({"snr_db": 200.0}, InvalidInputError, "snr_db: got 200.0"),
    ({"snr_db": "high"}, InvalidInputError, "snr_db: got 'high'"),
    ({"seed": -1}, InvalidInputError, "seed: got -1"),
    ({"scheme": "generative"}, UnsupportedError, "SCHEME_GENERATIVE_JSCC"),
    ({"scheme": "magic"}, InvalidInputError, "scheme: got 'magic'"),
    ({"channel": PluginChannel("mine")}, InvalidInputError, "plugin.name: got 'mine'"),
    ({"channel": Fading(k_factor=-1.0)}, InvalidInputError, "model.fading.k_factor: got -1.0"),
    ({"image": b""}, InvalidInputError, "image.encoded: is empty"),
    ({"image": b"GIF89a"}, InvalidInputError, "image.encoded: got 6 bytes that are not"),
    ({"image": "/no/such/photo.png"}, InvalidInputError, "image: cannot read /no/such/photo.png"),
    ({"image": "a\0b"}, InvalidInputError, "image: cannot read"),
    ({"image": np.zeros((4, 4, 2), np.uint8)}, InvalidInputError, r"got uint8 \[4, 4, 2\]"),
    ({"image": np.full((4, 4, 3), 2.0)}, InvalidInputError, "image: got floats from 2 to 2"),
    ({"image": torch.zeros(4, 4, 3)}, InvalidInputError, r"image: got float32 \[4, 4, 3\]"),
    ({"image": np.zeros((0, 4, 3), np.uint8)}, InvalidInputError, r"image: got uint8 \[0, 4, 3\]"),
    ({"image": 5}, InvalidInputError, "image: got int"),
]


@pytest.mark.parametrize(("keywords", "kind", "problem"), ERRORS, ids=str)
def test_errors_are_the_same_alone_and_in_streams(
    keywords: dict[str, Any], kind: type[GenJSCCError], problem: str, local: LocalLink, remote: Any
) -> None:
    image = keywords.get("image", gradient())
    options = {k: v for k, v in keywords.items() if k != "image"}
    texts = []
    for link in (local, remote):
        with pytest.raises(kind, match=problem) as caught:
            link.send(image, **options)
        (failure,) = link.send_many([image], **options)
        assert isinstance(failure, Failure)
        assert failure.index == 0
        assert type(failure.error) is kind
        assert str(failure.error) == str(caught.value)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]


def test_unknown_options_are_named(local: LocalLink, remote: Any) -> None:
    for link in (local, remote):
        with pytest.raises(InvalidInputError, match="noise_db: is not an option"):
            link.send(gradient(), noise_db=3)
        with pytest.raises(InvalidInputError, match="noise_db: is not an option"):
            list(link.send_many([gradient()], noise_db=3))


def test_wrong_pair(local: LocalLink, remote: Any) -> None:
    for link in (local, remote):
        transmission = link.transmit(link.encode(gradient()), seed=1)
        stranger = type(transmission.received)(
            transmission.received.symbols,
            "0123456789abcdef",
            transmission.received.bandwidth_ratio,
            transmission.received.image_size,
        )
        fields = {**vars(transmission), "received": stranger}
        with pytest.raises(WrongPairError, match="got '0123456789abcdef'"):
            link.decode(type(transmission)(**fields))


def test_a_bad_image_of_a_stream_leaves_the_others(local: LocalLink, remote: Any) -> None:
    pictures: list[Any] = [gradient(), b"", noise(20, 20), "/nowhere", file_of(gradient())]
    for link in (local, remote):
        outcomes = list(link.send_many(iter(pictures), seed=0))
        assert [isinstance(o, Failure) for o in outcomes] == [False, True, False, True, False]
        assert [o.index for o in outcomes if isinstance(o, Failure)] == [1, 3]
        assert_close(local.send(noise(20, 20), seed=2), outcomes[2])


def test_no_images_no_outcomes(local: LocalLink, remote: Any) -> None:
    assert list(local.send_many([])) == list(remote.send_many([])) == []


def test_a_source_that_breaks_is_told_after_the_outcomes(local: LocalLink, remote: Any) -> None:
    def source() -> Iterator[Any]:
        yield gradient()
        yield gradient()
        raise ZeroDivisionError("in the caller's own code")

    for link in (local, remote):
        outcomes = link.send_many(source(), seed=1)
        assert isinstance(next(outcomes), Reception)
        assert isinstance(next(outcomes), Reception)
        with pytest.raises(ZeroDivisionError, match="own code"):
            next(outcomes)


def test_an_endless_source_is_read_only_as_far_as_needed(local: LocalLink, remote: Any) -> None:
    for link in (local, remote):
        taken = 0

        def source() -> Iterator[Any]:
            nonlocal taken
            while True:
                taken += 1
                yield noise(16, 16)

        outcomes = link.send_many(source(), seed=1)
        for _ in range(3):
            assert isinstance(next(outcomes), Reception)
        outcomes.close()
        assert taken < 200


def test_more_images_than_a_window(local: LocalLink, remote: Any) -> None:
    pictures = [noise(16, 16, i) for i in range(150)]
    near, far = (list(link.send_many(pictures, seed=0)) for link in (local, remote))
    assert len(near) == len(far) == 150
    for one, other in zip(near, far, strict=True):
        assert_close(one, other)


def test_a_closed_link_says_so(services: Services) -> None:
    link = Link(**services.addresses)
    outcomes = link.send_many([gradient()] * 5)
    next(outcomes)
    link.close()
    link.close()
    outcomes.close()
    with pytest.raises(CancelledCallError, match="closed"):
        link.send(gradient())
    with pytest.raises(CancelledCallError, match="closed"):
        list(link.send_many([gradient()]))


def test_calls_that_meet_a_closing_link_end(services: Services) -> None:
    """Wherever the closing falls, a call has its answer or an error that says "closed"."""
    ends: list[str] = []

    def calls(link: Link) -> None:
        try:
            while True:
                link.decoders()
        except CancelledCallError as error:
            ends.append(str(error))

    for round_ in range(20):
        link = Link(**services.addresses)
        link.decoders()
        callers = [threading.Thread(target=calls, args=(link,), daemon=True) for _ in range(4)]
        for caller in callers:
            caller.start()
        time.sleep(round_ * 1e-3)
        link.close()
        for caller in callers:
            caller.join(100)
            assert not caller.is_alive()
    assert len(ends) == 20 * 4
    assert all("closed" in end for end in ends)
