# SPDX-License-Identifier: Apache-2.0
"""The receiver's engine, in process."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from channel.noise import unit_complex_gaussian
from genjscc.errors import InvalidInputError, UnsupportedError, WrongPairError
from genjscc.limits import Limits
from genjscc.serving.engine import answer, answer_many
from genjscc.serving.settings import ReceiverSettings
from genjscc.v1 import channel_pb2, model_pb2, receiver_pb2, tensor_pb2
from genjscc.wire.codewords import Codeword, codeword_to_message
from genjscc.wire.images import rgb_from_message
from genjscc.wire.tensors import complex_to_message
from receiver.service import ReceiverEngine
from tests.helpers.tiny_bundles import MULTI, RATES, SINGLE


@pytest.fixture(scope="module")
def engine(bundles: Path) -> ReceiverEngine:
    return ReceiverEngine(ReceiverSettings(bundles=bundles))


@pytest.fixture(scope="module")
def pairs(engine: ReceiverEngine) -> dict[str, str]:
    return {model.name: model.pair_id for model in engine.catalogue.messages()}


def codeword(
    pair_id: str, size: tuple[int, int] = (40, 30), rate: str = "1/48", seed: int = 1
) -> Codeword:
    k = RATES.get(rate, 8) * -(-size[0] // 16) * -(-size[1] // 16) // 2
    return Codeword(unit_complex_gaussian(seed, k), pair_id, Fraction(rate), size, 0.0)


def request_for(received: Codeword, **fields: Any) -> receiver_pb2.DecodeRequest:
    given = {"received": codeword_to_message(received), "format": tensor_pb2.IMAGE_FORMAT_RAW}
    return receiver_pb2.DecodeRequest(**(given | fields))


def pixels(response: receiver_pb2.DecodeResponse) -> Any:
    return rgb_from_message(response.image, limits=Limits()).astype(int)


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 15), (48, 40), (5, 90)])
@pytest.mark.parametrize("rate", RATES)
def test_any_image_size(
    engine: ReceiverEngine, pairs: dict[str, str], size: tuple[int, int], rate: str
) -> None:
    response = answer(engine, request_for(codeword(pairs[MULTI], size, rate)))
    assert pixels(response).shape == (*size, 3)
    assert response.model == MULTI
    assert response.scheme == model_pb2.SCHEME_DEEP_JSCC


def test_png_and_raw_are_the_same_image(engine: ReceiverEngine, pairs: dict[str, str]) -> None:
    raw = answer(engine, request_for(codeword(pairs[MULTI])))
    for format_ in (tensor_pb2.IMAGE_FORMAT_PNG, tensor_pb2.IMAGE_FORMAT_UNSPECIFIED):
        png = answer(engine, request_for(codeword(pairs[MULTI]), format=format_))
        assert png.image.encoded.startswith(b"\x89PNG")
        np.testing.assert_array_equal(pixels(png), pixels(raw))


def test_only_small_raw_images_are_quick(engine: ReceiverEngine, pairs: dict[str, str]) -> None:
    small = request_for(codeword(pairs[MULTI]))
    assert engine.is_quick(small)
    assert not engine.is_quick(request_for(codeword(pairs[MULTI]), format=0))
    assert not engine.is_quick(request_for(codeword(pairs[MULTI], (512, 512))))
    inverse = model_pb2.SCHEME_INVERSE_JSCC
    assert not engine.is_quick(request_for(codeword(pairs[MULTI]), scheme=inverse))
    small.state.gains.data = bytes(1 << 20)
    assert not engine.is_quick(small)
    small.ClearField("state")
    small.received.symbols.data = bytes(1 << 20)
    assert not engine.is_quick(small)


def test_the_pair_chooses_the_model(engine: ReceiverEngine, pairs: dict[str, str]) -> None:
    assert answer(engine, request_for(codeword(pairs[SINGLE], rate="1/192"))).model == SINGLE


def test_batched_equals_alone(engine: ReceiverEngine, pairs: dict[str, str]) -> None:
    requests = [
        request_for(codeword(pairs[MULTI], (40 + i, 30), rate, seed=i), snr_db=float(i))
        for i in range(5)
        for rate in RATES
    ]
    for request, response in zip(requests, answer_many(engine, requests, 16), strict=True):
        assert not isinstance(response, Exception)
        # 1e-5 in [0, 1] may tip a rounding, no more.
        assert np.abs(pixels(response) - pixels(answer(engine, request))).max() <= 1


def test_told_snr_goes_before_the_headers(engine: ReceiverEngine, pairs: dict[str, str]) -> None:
    received = codeword(pairs[MULTI])
    at_header, assumed = (answer(engine, request_for(received, snr_db=s)) for s in (None, 0.0))
    np.testing.assert_array_equal(pixels(at_header), pixels(assumed))
    other = answer(engine, request_for(received, snr_db=20.0))
    assert (pixels(other) != pixels(assumed)).any()


def test_gains_are_divided_out(engine: ReceiverEngine, pairs: dict[str, str]) -> None:
    received = codeword(pairs[MULTI])
    gains = unit_complex_gaussian(9, -(-received.k // 10))
    faded = Codeword(
        received.symbols * np.repeat(gains, 10)[: received.k],
        received.pair_id,
        received.bandwidth_ratio,
        received.image_size,
        0.0,
    )
    state = channel_pb2.ChannelState(gains=complex_to_message(gains), block_length=10)
    equalised = pixels(answer(engine, request_for(faded, state=state)))
    assert np.abs(equalised - pixels(answer(engine, request_for(received)))).max() <= 1
    assert np.abs(pixels(answer(engine, request_for(faded))) - equalised).max() > 1


def test_other_pairs_and_rates_are_refused(engine: ReceiverEngine, pairs: dict[str, str]) -> None:
    with pytest.raises(WrongPairError, match=f"got 'stranger'.*{pairs[MULTI]} .{MULTI}"):
        answer(engine, request_for(codeword("stranger")))
    with pytest.raises(WrongPairError, match="bandwidth_ratio: got '1/47'"):
        answer(engine, request_for(codeword(pairs[MULTI], rate="1/47")))


@pytest.mark.parametrize(
    ("scheme", "name"),
    [(2, "SCHEME_GENERATIVE_JSCC"), (77, "77")],
)
def test_schemes_not_offered(
    engine: ReceiverEngine, pairs: dict[str, str], scheme: int, name: str
) -> None:
    with pytest.raises(UnsupportedError, match=f"got {name}"):
        answer(engine, request_for(codeword(pairs[MULTI]), scheme=scheme))


def test_k_must_fit_the_image(engine: ReceiverEngine, pairs: dict[str, str]) -> None:
    good = codeword(pairs[MULTI])
    wrong = Codeword(good.symbols[:-1], good.pair_id, good.bandwidth_ratio, good.image_size, 0.0)
    with pytest.raises(InvalidInputError, match="k = 95; 1/48 of a 30x40 image is k = 96"):
        answer(engine, request_for(wrong))


def test_snr_must_come_from_somewhere(engine: ReceiverEngine, pairs: dict[str, str]) -> None:
    request = request_for(codeword(pairs[MULTI]))
    request.received.header.ClearField("snr_db")
    with pytest.raises(InvalidInputError, match="snr_db: is missing"):
        answer(engine, request)


def test_a_gain_of_zero_is_refused(engine: ReceiverEngine, pairs: dict[str, str]) -> None:
    received = codeword(pairs[MULTI])
    gains = complex_to_message(np.zeros(1, np.complex64))
    state = channel_pb2.ChannelState(gains=gains, block_length=received.k)
    with pytest.raises(InvalidInputError, match="a gain is 0"):
        answer(engine, request_for(received, state=state))


@pytest.mark.parametrize("cause", ["symbols", "gains"])
def test_symbols_beyond_arithmetic_are_refused_alone(
    engine: ReceiverEngine, pairs: dict[str, str], cause: str
) -> None:
    good = codeword(pairs[MULTI])
    loud = good.symbols.copy()
    state = None
    if cause == "symbols":
        loud[:] = 3e38
    else:
        gains = np.full(1, 1e-44, np.complex64)
        state = channel_pb2.ChannelState(gains=complex_to_message(gains), block_length=good.k)
    bad = Codeword(loud, good.pair_id, good.bandwidth_ratio, good.image_size, 0.0)
    requests = [request_for(good), request_for(bad, state=state), request_for(good)]
    first, failed, last = answer_many(engine, requests, 16)
    assert isinstance(failed, InvalidInputError)
    assert failed.field == ("received.symbols" if cause == "symbols" else "state.gains")
    assert not isinstance(first, Exception)
    assert not isinstance(last, Exception)
    assert pixels(first).std() > 0
    np.testing.assert_array_equal(pixels(first), pixels(last))


def test_padding_cannot_blow_an_image_up(bundles: Path, pairs: dict[str, str]) -> None:
    small = ReceiverEngine(ReceiverSettings(bundles=bundles, max_pixels=64 * 64))
    with pytest.raises(InvalidInputError, match=r"4096x16.*at most 4096"):
        answer(small, request_for(codeword(pairs[MULTI], (1, 4096), "1/768")))


def test_one_pass_never_holds_more_pixels_than_one_image_may(
    bundles: Path, pairs: dict[str, str]
) -> None:
    small = ReceiverEngine(ReceiverSettings(bundles=bundles, max_pixels=2 * 32 * 32))
    seen: list[int] = []
    network = small.catalogue.by_name(MULTI).network
    network.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    requests = [request_for(codeword(pairs[MULTI], (32, 32), seed=i)) for i in range(5)]
    assert len(answer_many(small, requests, 16)) == 5
    assert seen == [2, 2, 1]


def test_estimated_snr_is_that_of_the_received_power(
    engine: ReceiverEngine, pairs: dict[str, str]
) -> None:
    sent = codeword(pairs[MULTI], (480, 320))
    power = np.mean(np.abs(sent.symbols) ** 2)
    noise = 10 ** (-3 / 20) * unit_complex_gaussian(9, sent.k)
    received = replace(sent, symbols=(sent.symbols / np.sqrt(power) + noise).astype(np.complex64))
    assumed = answer(engine, request_for(received, snr_db=-4.0))
    estimated = answer(engine, request_for(received, snr_db=-4.0, estimate_snr=True))
    assert assumed.snr_db == -4.0
    assert estimated.snr_db == pytest.approx(3.0, abs=0.5)
    assert (pixels(assumed) != pixels(estimated)).any()
    # The gains of a channel that left the division to the receiver change nothing.
    faded = replace(received, symbols=received.symbols * np.complex64(0.5j))
    state = channel_pb2.ChannelState(
        gains=complex_to_message(np.array([0.5j], np.complex64)), block_length=sent.k
    )
    again = answer(engine, request_for(faded, estimate_snr=True, state=state))
    assert again.snr_db == pytest.approx(estimated.snr_db, abs=1e-4)


def test_a_large_image_is_computed_in_tiles_and_the_same(
    bundles: Path,
    engine: ReceiverEngine,
    pairs: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = request_for(codeword(pairs[MULTI], (80, 120)))
    whole = pixels(answer(engine, request))
    monkeypatch.setattr("genjscc.pixels._CPU_PASS", 64 * 64)
    monkeypatch.setattr("genjscc.layers.tiles._CPU_VALUES", 2**12)
    tiling = ReceiverEngine(ReceiverSettings(bundles=bundles))
    assert tiling.tiled.is_stepwise(tiling.prepare(request))
    assert not tiling.tiled.is_stepwise(
        tiling.prepare(request_for(codeword(pairs[MULTI], (64, 64))))
    )
    # A value in the middle between two levels may be rounded either way.
    assert np.abs(pixels(answer(tiling, request)) - whole).max() <= 1
