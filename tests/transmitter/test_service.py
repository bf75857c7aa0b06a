# SPDX-License-Identifier: Apache-2.0
"""The transmitter's engine, in process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genjscc.errors import BundleError, InvalidInputError, ModelNotFoundError
from genjscc.serving.engine import answer, answer_many
from genjscc.serving.settings import TransmitterSettings
from genjscc.v1 import tensor_pb2, transmitter_pb2
from genjscc.wire.images import rgb_to_message
from genjscc.wire.tensors import complex_from_message
from tests.helpers.pictures import file_of, gradient, noise
from tests.helpers.tiny_bundles import MULTI, RATES, SINGLE, write_tiny
from transmitter.service import TransmitterEngine


@pytest.fixture(scope="module")
def engine(bundles: Path) -> TransmitterEngine:
    return TransmitterEngine(TransmitterSettings(bundles=bundles))


def request_for(picture: Any = None, **fields: Any) -> transmitter_pb2.EncodeRequest:
    image = rgb_to_message(gradient() if picture is None else picture)
    return transmitter_pb2.EncodeRequest(**({"image": image, "snr_db": 0.0} | fields))


def symbols_of(response: transmitter_pb2.EncodeResponse) -> Any:
    return complex_from_message(response.codeword.symbols, field="symbols", max_size=2**20)


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 15), (48, 40), (5, 90)])
@pytest.mark.parametrize("rate", RATES)
def test_any_image_size(engine: TransmitterEngine, size: tuple[int, int], rate: str) -> None:
    response = answer(engine, request_for(noise(*size), bandwidth_ratio=rate))
    header = response.codeword.header
    assert (header.image_height, header.image_width) == size
    assert header.bandwidth_ratio == rate
    rows, columns = -(-size[0] // 16), -(-size[1] // 16)
    assert header.num_symbols == len(symbols_of(response)) == RATES[rate] * rows * columns // 2
    power = np.mean(np.abs(symbols_of(response).astype(np.complex128)) ** 2)
    assert power == pytest.approx(1.0, rel=1e-6)


def test_padding_repeats_the_edge(engine: TransmitterEngine) -> None:
    picture = gradient(20, 30)
    padded = np.pad(picture, ((0, 12), (0, 2), (0, 0)), mode="edge")
    np.testing.assert_array_equal(
        symbols_of(answer(engine, request_for(picture))),
        symbols_of(answer(engine, request_for(padded))),
    )


def test_defaults_are_the_first_model_and_its_highest_rate(engine: TransmitterEngine) -> None:
    response = answer(engine, request_for())
    assert response.model == MULTI
    assert response.codeword.header.bandwidth_ratio == "1/48"
    assert answer(engine, request_for(model=SINGLE)).codeword.header.bandwidth_ratio == "1/192"


def test_batched_equals_alone(engine: TransmitterEngine) -> None:
    requests = [
        request_for(noise(32, 48, i), snr_db=float(i - 5), bandwidth_ratio=rate, model=MULTI)
        for i in range(5)
        for rate in RATES
    ]
    for request, response in zip(requests, answer_many(engine, requests, 16), strict=True):
        assert not isinstance(response, Exception)
        alone = answer(engine, request)
        assert response.codeword.header == alone.codeword.header
        np.testing.assert_allclose(symbols_of(response), symbols_of(alone), rtol=0, atol=1e-5)


def test_file_and_pixels_are_the_same_image(engine: TransmitterEngine) -> None:
    from_file = request_for(image=tensor_pb2.Image(encoded=file_of(gradient())))
    assert answer(engine, from_file).codeword == answer(engine, request_for()).codeword


@pytest.mark.parametrize(
    ("fields", "error", "problem"),
    [
        ({"model": "nobody"}, ModelNotFoundError, f"model: got 'nobody'.*{MULTI}, {SINGLE}"),
        ({"bandwidth_ratio": "1/47"}, ModelNotFoundError, "'1/47'.*1/768, 1/192, 1/48"),
        ({"bandwidth_ratio": "x"}, InvalidInputError, "bandwidth_ratio: got 'x'"),
        ({"snr_db": None}, InvalidInputError, "snr_db: is missing"),
        ({"snr_db": 100.0}, InvalidInputError, "snr_db: got 100.0"),
        ({"image": None}, InvalidInputError, "image: is missing"),
    ],
)
def test_bad_requests(
    engine: TransmitterEngine, fields: Any, error: type[Exception], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        answer(engine, request_for(**fields))


def test_padding_cannot_blow_an_image_up(bundles: Path) -> None:
    small = TransmitterEngine(TransmitterSettings(bundles=bundles, max_pixels=64 * 64))
    answer(small, request_for(noise(64, 64)))
    # One row of 4096 pixels passes the limit as it is, and becomes sixteen.
    with pytest.raises(InvalidInputError, match=r"image: .*4096x16.*at most 4096"):
        answer(small, request_for(noise(1, 4096)))


def test_one_pass_never_holds_more_pixels_than_one_image_may(bundles: Path) -> None:
    small = TransmitterEngine(TransmitterSettings(bundles=bundles, max_pixels=2 * 32 * 32))
    seen: list[int] = []
    network = small.catalogue.by_name(MULTI).network
    network.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    requests = [request_for(noise(32, 32, i)) for i in range(5)]
    assert len(answer_many(small, requests, 16)) == 5
    assert seen == [2, 2, 1]


def test_a_large_image_is_computed_in_tiles_and_the_same(
    bundles: Path, engine: TransmitterEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = symbols_of(answer(engine, request_for(noise(80, 120))))
    monkeypatch.setattr("genjscc.pixels._CPU_PASS", 64 * 64)
    monkeypatch.setattr("genjscc.layers.tiles._CPU_VALUES", 2**12)
    tiling = TransmitterEngine(TransmitterSettings(bundles=bundles))
    job = tiling.prepare(request_for(noise(80, 120)))
    assert tiling.tiled.is_stepwise(job)
    assert not tiling.tiled.is_stepwise(tiling.prepare(request_for(noise(64, 64))))
    assert tiling.tiled.begin(job).advance().num_steps > 10
    assert len(whole) == len(symbols_of(answer(tiling, request_for(noise(80, 120)))))
    tiled = symbols_of(answer(tiling, request_for(noise(80, 120))))
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_default_model_must_exist(bundles: Path) -> None:
    chosen = TransmitterEngine(TransmitterSettings(bundles=bundles, default_model=SINGLE))
    assert answer(chosen, request_for()).model == SINGLE
    with pytest.raises(BundleError, match="'nobody' is not in"):
        TransmitterEngine(TransmitterSettings(bundles=bundles, default_model="nobody"))


def test_listed_models_say_what_they_are(engine: TransmitterEngine) -> None:
    multi, single = engine.catalogue.messages()
    assert (multi.name, single.name) == (MULTI, SINGLE)
    assert list(multi.bandwidth_ratios) == ["1/768", "1/192", "1/48"]
    assert list(single.bandwidth_ratios) == ["1/192"]
    assert multi.is_default
    assert not single.is_default
    assert multi.pair_id != single.pair_id
    assert (multi.snr_db_min, multi.snr_db_max, multi.image_size) == (-5.0, 5.0, 64)


def test_bfloat16_is_close_and_keeps_the_power(bundles: Path, tmp_path: Path) -> None:
    write_tiny(tmp_path, SINGLE)
    exact = TransmitterEngine(TransmitterSettings(bundles=tmp_path))
    rough = TransmitterEngine(TransmitterSettings(bundles=tmp_path, dtype="bfloat16"))
    a, b = (symbols_of(answer(engine, request_for())) for engine in (exact, rough))
    assert np.mean(np.abs(b.astype(np.complex128)) ** 2) == pytest.approx(1.0, rel=1e-6)
    assert 0 < np.abs(a - b).max() < 0.2


def test_only_small_raw_images_are_quick(engine: TransmitterEngine) -> None:
    assert engine.is_quick(request_for(noise(64, 64)))
    assert not engine.is_quick(request_for(noise(512, 512)))
    assert not engine.is_quick(transmitter_pb2.EncodeRequest())
    # However few its bytes are: a file may hold a huge image.
    file = tensor_pb2.Image(encoded=file_of(gradient(8, 8)))
    assert not engine.is_quick(transmitter_pb2.EncodeRequest(image=file))
