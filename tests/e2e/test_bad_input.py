# SPDX-License-Identifier: Apache-2.0
"""Bad input over real sockets: each kind has its status, and the service goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from channel.noise import unit_complex_gaussian
from genjscc import Link
from genjscc.v1 import (
    channel_pb2,
    channel_pb2_grpc,
    codeword_pb2,
    receiver_pb2,
    receiver_pb2_grpc,
    tensor_pb2,
    transmitter_pb2,
    transmitter_pb2_grpc,
)
from genjscc.wire.images import rgb_to_message
from genjscc.wire.tensors import complex_to_message
from tests.helpers.pictures import file_of, gradient, noise, png_bomb
from tests.helpers.real_services import ServiceProcess, Services

Code = grpc.StatusCode


class Stubs:
    """The three services, called without our client's checks."""

    def __init__(self, services: Services) -> None:
        roles: list[ServiceProcess] = [services.transmitter, services.channel, services.receiver]
        self.connections = [role.connect() for role in roles]
        transmitter, channel, receiver = self.connections
        self.transmitter = transmitter_pb2_grpc.TransmitterServiceStub(transmitter)
        self.channel = channel_pb2_grpc.ChannelServiceStub(channel)
        self.receiver = receiver_pb2_grpc.ReceiverServiceStub(receiver)


@pytest.fixture(scope="module")
def stubs(services: Services) -> Iterator[Stubs]:
    made = Stubs(services)
    yield made
    for connection in made.connections:
        connection.close()


def encode(**changes: Any) -> transmitter_pb2.EncodeRequest:
    fields = {"image": rgb_to_message(gradient()), "snr_db": 0.0}
    return transmitter_pb2.EncodeRequest(**(fields | changes))


def encode_file(data: bytes) -> transmitter_pb2.EncodeRequest:
    return encode(image=tensor_pb2.Image(encoded=data))


def symbols(values: Any = None, **changes: Any) -> codeword_pb2.Codeword:
    values = unit_complex_gaussian(1, 16) if values is None else np.asarray(values, np.complex64)
    tensor = complex_to_message(values)
    for name, value in changes.items():
        if name == "shape":
            tensor.ClearField("shape")
            tensor.shape.extend(value)
        else:
            setattr(tensor, name, value)
    return codeword_pb2.Codeword(symbols=tensor)


def transmit(codeword: codeword_pb2.Codeword | None = None, **changes: Any) -> Any:
    fields: dict[str, Any] = {"codeword": codeword or symbols(), "snr_db": 0.0, "seed": 1}
    return channel_pb2.TransmitRequest(**(fields | changes))


TRANSMITTER: dict[str, tuple[Callable[[], Any], Code, str]] = {
    "nothing": (transmitter_pb2.EncodeRequest, Code.INVALID_ARGUMENT, "snr_db: is missing"),
    "no image": (lambda: encode(image=None), Code.INVALID_ARGUMENT, "image: is missing"),
    "empty file": (lambda: encode_file(b""), Code.INVALID_ARGUMENT, "image.encoded: is empty"),
    "no picture": (
        lambda: encode_file(b"hello"),
        Code.INVALID_ARGUMENT,
        "got 5 bytes that are not",
    ),
    "GIF": (lambda: encode_file(file_of(gradient(), "GIF")), Code.INVALID_ARGUMENT, "not a PNG"),
    "half a file": (
        lambda: encode_file(file_of(noise(40, 40))[:2000]),
        Code.INVALID_ARGUMENT,
        "image.encoded: the image file is damaged",
    ),
    "100 megapixels": (
        lambda: encode_file(png_bomb(10_000, 10_000)),
        Code.INVALID_ARGUMENT,
        "10000x10000 = 100000000 pixels; at most 16777216",
    ),
    "400 megapixels": (
        lambda: encode_file(png_bomb(20_000, 20_000)),
        Code.INVALID_ARGUMENT,
        "too many pixels; at most 16777216",
    ),
    "one row": (
        lambda: encode_file(png_bomb(1, 4_000_000)),
        Code.INVALID_ARGUMENT,
        "image",
    ),
    "wrong byte length": (
        lambda: encode(
            image=tensor_pb2.Image(raw=tensor_pb2.RawImage(height=2, width=2, rgb=b"1"))
        ),
        Code.INVALID_ARGUMENT,
        "image.raw.rgb: got 1 bytes; 2x2 RGB pixels are 12",
    ),
    "unknown model": (lambda: encode(model="x"), Code.NOT_FOUND, "model: got 'x'; loaded here"),
    "long name": (lambda: encode(model="x" * 10**4), Code.NOT_FOUND, "model: got 'xxx"),
    "endless name": (
        lambda: encode(model="x" * 10**6),
        Code.INVALID_ARGUMENT,
        "request: got 1000000 bytes in 'model'; must be at most 65536",
    ),
    "unknown rate": (lambda: encode(bandwidth_ratio="1/5"), Code.NOT_FOUND, "'1/5'"),
    "rate of a billion digits": (
        lambda: encode(bandwidth_ratio="1e999999999"),
        Code.INVALID_ARGUMENT,
        "bandwidth_ratio: got '1e999999999'",
    ),
    "absurd SNR": (lambda: encode(snr_db=1e9), Code.INVALID_ARGUMENT, "snr_db: got 1000000000.0"),
    "NaN SNR": (lambda: encode(snr_db=float("nan")), Code.INVALID_ARGUMENT, "snr_db: got nan"),
}

CHANNEL: dict[str, tuple[Callable[[], Any], Code, str]] = {
    "nothing": (channel_pb2.TransmitRequest, Code.INVALID_ARGUMENT, "codeword.symbols.dtype"),
    "wrong byte length": (
        lambda: transmit(symbols(data=bytes(9))),
        Code.INVALID_ARGUMENT,
        "codeword.symbols.data: got 9 bytes; shape [16] needs 128",
    ),
    "wrong type": (lambda: transmit(symbols(dtype="f8")), Code.INVALID_ARGUMENT, "got 'f8'"),
    "NaN": (lambda: transmit(symbols([1, np.nan])), Code.INVALID_ARGUMENT, "number 1 is (nan"),
    "infinite": (lambda: transmit(symbols([np.inf])), Code.INVALID_ARGUMENT, "number 0 is (inf"),
    "empty": (lambda: transmit(symbols([])), Code.INVALID_ARGUMENT, "[0]; holds no number"),
    "zero": (lambda: transmit(symbols([0, 0])), Code.INVALID_ARGUMENT, "all are zero"),
    "two dimensions": (
        lambda: transmit(symbols(shape=[4, 4])),
        Code.INVALID_ARGUMENT,
        "codeword.symbols.shape: got [4, 4]",
    ),
    "a hundred dimensions": (
        lambda: transmit(symbols([1], shape=[1] * 100)),
        Code.INVALID_ARGUMENT,
        "100 dimensions",
    ),
    "too many": (
        lambda: transmit(symbols(shape=[2**31])),
        Code.INVALID_ARGUMENT,
        "2147483648 numbers; at most 8388608",
    ),
    "absurd SNR": (lambda: transmit(snr_db=-1e6), Code.INVALID_ARGUMENT, "snr_db: got -1000000.0"),
    "no SNR": (lambda: transmit(snr_db=None), Code.INVALID_ARGUMENT, "snr_db: is missing"),
    "seed": (lambda: transmit(seed=2**64 - 1), Code.INVALID_ARGUMENT, "seed: got 1844674407"),
}


def refused(call: Callable[[Any], Any], request: Any, code: Code, problem: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(request)
    assert caught.value.code() is code
    assert problem in caught.value.details()
    assert "Traceback" not in caught.value.details()


@pytest.mark.parametrize("kind", TRANSMITTER)
def test_transmitter(kind: str, stubs: Stubs) -> None:
    make, code, problem = TRANSMITTER[kind]
    refused(stubs.transmitter.Encode, make(), code, problem)
    assert stubs.transmitter.Encode(encode()).codeword.header.num_symbols


@pytest.mark.parametrize("kind", CHANNEL)
def test_channel(kind: str, stubs: Stubs) -> None:
    make, code, problem = CHANNEL[kind]
    refused(stubs.channel.Transmit, make(), code, problem)
    assert stubs.channel.Transmit(transmit()).seed == 1


@pytest.fixture(scope="module")
def good(stubs: Stubs) -> receiver_pb2.DecodeRequest:
    codeword = stubs.transmitter.Encode(encode()).codeword
    return receiver_pb2.DecodeRequest(received=codeword)


def header(name: str, value: Any) -> Callable[[receiver_pb2.DecodeRequest], None]:
    return lambda request: setattr(request.received.header, name, value)


RECEIVER: dict[str, tuple[Callable[[receiver_pb2.DecodeRequest], Any], Code, str]] = {
    "nothing": (lambda r: r.Clear(), Code.INVALID_ARGUMENT, "received.symbols.dtype"),
    "wrong pair": (header("pair_id", "other"), Code.FAILED_PRECONDITION, "pair_id: got 'other'"),
    "wrong rate": (header("bandwidth_ratio", "1/7"), Code.FAILED_PRECONDITION, "got '1/7'"),
    "wrong k": (header("num_symbols", 7), Code.INVALID_ARGUMENT, "num_symbols: got 7"),
    "other size": (header("image_width", 100), Code.INVALID_ARGUMENT, "received.symbols: got k ="),
    "no size": (header("image_width", 0), Code.INVALID_ARGUMENT, "image_height: got 0x48"),
    "absurd SNR": (header("snr_db", 1e30), Code.INVALID_ARGUMENT, "header.snr_db: got 1e+30"),
    "wrong byte length": (
        lambda r: setattr(r.received.symbols, "data", b"123"),
        Code.INVALID_ARGUMENT,
        "received.symbols.data: got 3 bytes",
    ),
    "scheme": (lambda r: setattr(r, "scheme", 2), Code.UNIMPLEMENTED, "SCHEME_GENERATIVE_JSCC"),
    "format": (lambda r: setattr(r, "format", 9), Code.UNIMPLEMENTED, "format: got 9"),
    "gains": (lambda r: r.state.SetInParent(), Code.INVALID_ARGUMENT, "state.gains"),
    "beyond arithmetic": (
        lambda r: r.received.symbols.CopyFrom(
            complex_to_message(np.full(r.received.header.num_symbols, 3e38, np.complex64))
        ),
        Code.INVALID_ARGUMENT,
        "received.symbols",
    ),
}


@pytest.mark.parametrize("kind", RECEIVER)
def test_receiver(kind: str, stubs: Stubs, good: receiver_pb2.DecodeRequest) -> None:
    change, code, problem = RECEIVER[kind]
    request = receiver_pb2.DecodeRequest.FromString(good.SerializeToString())
    change(request)
    refused(stubs.receiver.Decode, request, code, problem)
    assert stubs.receiver.Decode(good).image.encoded


METHODS = [
    ("transmitter", "/genjscc.v1.TransmitterService/Encode"),
    ("channel", "/genjscc.v1.ChannelService/Transmit"),
    ("receiver", "/genjscc.v1.ReceiverService/Decode"),
]


@pytest.mark.parametrize(("role", "method"), METHODS)
def test_garbage_instead_of_a_message(role: str, method: str, services: Services) -> None:
    with getattr(services, role).connect() as connection:
        call = connection.unary_unary(method)
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff" * 50, timeout=100)
        assert caught.value.code() is Code.INVALID_ARGUMENT
        assert caught.value.details() == "request: got 50 bytes that are not a message of this call"
        stream = connection.stream_stream(f"{method}Stream")
        with pytest.raises(grpc.RpcError) as caught:
            list(stream(iter([b"\xff" * 50]), timeout=100))
        assert caught.value.code() is Code.INVALID_ARGUMENT
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=100)
        assert caught.value.code() is Code.INVALID_ARGUMENT


@pytest.mark.parametrize(("role", "method"), METHODS)
def test_messages_above_the_limit(role: str, method: str, services: Services) -> None:
    with getattr(services, role).connect() as connection:
        with pytest.raises(grpc.RpcError) as caught:
            connection.unary_unary(method)(bytes(64 * 1024 * 1024 + 1), timeout=100)
        assert caught.value.code() is Code.RESOURCE_EXHAUSTED


def test_unknown_method(services: Services) -> None:
    with services.channel.connect() as connection, pytest.raises(grpc.RpcError) as caught:
        connection.unary_unary("/genjscc.v1.ChannelService/Teleport")(b"", timeout=100)
    assert caught.value.code() is Code.UNIMPLEMENTED


def test_a_photo_of_5_mebibytes_works(link: Link) -> None:
    photo = file_of(noise(1248, 1408))
    assert 5 * 2**20 < len(photo) < 6 * 2**20
    reception = link.send(photo, snr_db=10, rate="1/768", seed=1)
    assert reception.image.shape == (1248, 1408, 3)
    assert reception.codeword.k == 2 * 78 * 88 // 2
