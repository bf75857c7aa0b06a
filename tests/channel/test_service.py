# SPDX-License-Identifier: Apache-2.0
"""The channel's engine, in process: what is computed, whatever the batch and the backend."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from channel.noise import Stream, unit_noise_rows
from channel.physics import normalize_power
from channel.service import ChannelEngine
from genjscc.errors import InvalidInputError
from genjscc.serving.engine import answer, answer_many
from genjscc.serving.settings import ChannelSettings
from genjscc.v1 import channel_pb2, codeword_pb2
from genjscc.wire.tensors import complex_from_message, complex_to_message


@pytest.fixture(scope="module")
def engine() -> ChannelEngine:
    return ChannelEngine(ChannelSettings())


def symbols(k: int = 64, seed: int = 1) -> Any:
    return unit_noise_rows([seed], k, Stream.FADING)[0]


def request_for(
    z: Any, snr_db: float | None = 10.0, seed: int | None = 3, model: Any = None
) -> channel_pb2.TransmitRequest:
    header = codeword_pb2.CodewordHeader(pair_id="p", num_symbols=len(z))
    codeword = codeword_pb2.Codeword(header=header, symbols=complex_to_message(z))
    return channel_pb2.TransmitRequest(codeword=codeword, snr_db=snr_db, seed=seed, model=model)


def fading(k_factor: float = 0.0, block_length: int = 0, equalization: int = 0) -> Any:
    kind = channel_pb2.FadingChannel(
        k_factor=k_factor, block_length=block_length, equalization=equalization
    )
    return channel_pb2.ChannelModel(fading=kind)


def ofdm(**fields: Any) -> Any:
    return channel_pb2.ChannelModel(ofdm=channel_pb2.OfdmChannel(**fields))


TDL_A = channel_pb2.DELAY_PROFILE_TDL_A
NOISELESS = channel_pb2.ChannelModel(noiseless=channel_pb2.NoiselessChannel())
NONE, FORCED = channel_pb2.EQUALIZATION_NONE, channel_pb2.EQUALIZATION_ZERO_FORCING


def received_of(response: channel_pb2.TransmitResponse) -> Any:
    return complex_from_message(response.received.symbols, field="received", max_size=2**20)


def test_answer_says_what_happened(engine: ChannelEngine) -> None:
    z = symbols(4096)
    response = answer(engine, request_for(z, 7.0, seed=5))
    assert response.seed == 5
    assert response.measured_power == pytest.approx(1.0, rel=1e-6)
    assert response.measured_snr_db == pytest.approx(7.0, abs=0.5)
    assert response.received.header.pair_id == "p"
    assert not response.HasField("state")
    noise = received_of(response) - normalize_power(z[None])[0]
    measured = -10 * np.log10(np.mean(np.abs(noise) ** 2))
    assert response.measured_snr_db == pytest.approx(measured, abs=1e-3)


def test_noiseless_needs_no_snr_and_delivers(engine: ChannelEngine) -> None:
    z = symbols()
    response = answer(engine, request_for(z, None, model=NOISELESS))
    np.testing.assert_array_equal(received_of(response), normalize_power(z[None])[0])
    assert response.measured_snr_db == float("inf")


def test_scale_of_the_sender_does_not_matter(engine: ChannelEngine) -> None:
    loud = answer(engine, request_for(symbols() * np.float32(1e6)))
    np.testing.assert_allclose(
        received_of(loud), received_of(answer(engine, request_for(symbols()))), rtol=1e-4, atol=1e-6
    )


def test_service_and_receiver_equalise_alike(engine: ChannelEngine) -> None:
    z = symbols(50)
    forced = answer(engine, request_for(z, 20.0, model=fading(0.5, 8, FORCED)))
    left = answer(engine, request_for(z, 20.0, model=fading(0.5, 8, NONE)))
    gains = complex_from_message(left.state.gains, field="gains", max_size=100)
    assert gains.shape == (7,)
    assert left.state.block_length == 8
    np.testing.assert_allclose(
        received_of(left) / np.repeat(gains, 8)[:50], received_of(forced), rtol=1e-5
    )
    assert left.measured_snr_db == forced.measured_snr_db


def test_block_length_0_is_one_gain_for_the_codeword(engine: ChannelEngine) -> None:
    response = answer(engine, request_for(symbols(30), model=fading(0.0, 0, NONE)))
    assert list(response.state.gains.shape) == [1]
    assert response.state.block_length == 30


def test_ofdm_reports_its_cost_and_its_snr(engine: ChannelEngine) -> None:
    z = symbols(470)
    model = ofdm(profile=TDL_A, estimation=channel_pb2.CHANNEL_ESTIMATION_LS)
    response = answer(engine, request_for(z, 10.0, seed=4, model=model))
    received, report = received_of(response), response.ofdm
    # 47 of 64 subcarriers carry data: ten OFDM symbols, with a prefix of 8 samples each.
    assert (report.ofdm_symbols, report.pilots, report.channel_uses) == (10, 170, 720)
    error = np.mean(np.abs(received - normalize_power(z[None])[0]) ** 2)
    assert report.equalized_snr_db == pytest.approx(-10 * np.log10(error), abs=1e-3)
    assert report.estimated_snr_db == pytest.approx(report.equalized_snr_db, abs=1.5)
    assert 5.0 < report.papr_db < 13.0
    assert not response.HasField("state")
    assert not answer(engine, request_for(z)).HasField("ofdm")


def test_drawn_seed_gives_the_same_again(engine: ChannelEngine) -> None:
    first = answer(engine, request_for(symbols(), seed=None))
    other = answer(engine, request_for(symbols(), seed=None))
    again = answer(engine, request_for(symbols(), seed=first.seed))
    assert first.seed != other.seed
    assert again.received == first.received


def test_batched_equals_alone(engine: ChannelEngine) -> None:
    requests = [
        request_for(symbols(40, i), float(i), seed=i, model=model)
        for i, model in enumerate(
            4 * [None, fading(1.0, 8), ofdm(profile=TDL_A, speed_mps=20.0, phase_noise_hz=5.0)]
        )
    ]
    together = answer_many(engine, requests, max_batch=5)
    for request, response in zip(requests, together, strict=True):
        alone = answer(engine, request)
        assert not isinstance(response, Exception)
        assert response.received == alone.received
        assert response.measured_snr_db == alone.measured_snr_db
        assert response.ofdm == alone.ofdm


def test_torch_backend_gives_the_same_noise(engine: ChannelEngine) -> None:
    torch_engine = ChannelEngine(ChannelSettings(backend="torch"))
    for model in (None, NOISELESS, fading(0.0, 8), fading(3.0, 5, NONE), ofdm(profile=TDL_A)):
        request = request_for(symbols(), 12.0, model=model)
        here, there = answer(engine, request), answer(torch_engine, request)
        if model is not None and model.HasField("ofdm"):  # the noise is estimated by a search
            np.testing.assert_allclose(received_of(there), received_of(here), rtol=2e-3, atol=1e-4)
            continue
        np.testing.assert_allclose(received_of(there), received_of(here), rtol=5e-6, atol=1e-6)
        assert there.measured_snr_db == pytest.approx(here.measured_snr_db, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"snr_db": None}, "snr_db"),
        ({"snr_db": float("nan")}, "snr_db"),
        ({"snr_db": 61.0}, "snr_db"),
        ({"snr_db": -31.0}, "snr_db"),
        ({"seed": 2**63}, "seed"),
        ({"z": np.zeros(8, np.complex64)}, "codeword.symbols"),
        ({"model": fading(-1.0)}, "model.fading.k_factor"),
        ({"model": fading(float("nan"))}, "model.fading.k_factor"),
        ({"model": fading(1e7)}, "model.fading.k_factor"),
        ({"model": fading(0.0, 0, 99)}, "model.fading.equalization"),
        ({"model": ofdm(profile=77)}, "model.ofdm.profile"),
        ({"model": ofdm(pilot_spacing=64)}, "model.ofdm.pilot_spacing"),
        ({"model": ofdm(profile=TDL_A, speed_mps=-1.0)}, "model.ofdm.speed_mps"),
        ({"model": ofdm(cfo=float("nan"))}, "model.ofdm.cfo"),
        ({"model": ofdm(), "snr_db": None}, "snr_db"),
    ],
)
def test_bad_requests_name_their_field(engine: ChannelEngine, change: Any, field: str) -> None:
    arguments = {"z": symbols(), **change}
    with pytest.raises(InvalidInputError) as caught:
        answer(engine, request_for(**arguments))
    assert caught.value.field == field


def test_unknown_device_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="device"):
        ChannelEngine(ChannelSettings(backend="torch", device="abacus"))


def test_needs_no_torch() -> None:
    code = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "safetensors", "sionna", "scipy"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
import numpy as np
from channel.service import ChannelEngine, channel_service
from genjscc.errors import MissingExtraError
from genjscc.serving.engine import answer
from genjscc.serving.server import Server
from genjscc.serving.settings import ChannelSettings
from genjscc.v1 import channel_pb2, codeword_pb2
from genjscc.wire.tensors import complex_to_message
Server(channel_service(ChannelSettings()), ChannelSettings())
codeword = codeword_pb2.Codeword(symbols=complex_to_message(np.ones(100, np.complex64)))
request = channel_pb2.TransmitRequest(codeword=codeword, snr_db=3, seed=1)
assert answer(ChannelEngine(ChannelSettings()), request).measured_power == 1
request.model.ofdm.profile = channel_pb2.DELAY_PROFILE_TDL_A
assert answer(ChannelEngine(ChannelSettings()), request).ofdm.pilots == 51
try:
    ChannelEngine(ChannelSettings(backend="torch"))
except MissingExtraError:
    print("ok")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "ok\n", done.stderr
