# SPDX-License-Identifier: Apache-2.0
"""No number in a request, and no form of one, makes a service take much memory or time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from genjscc.v1 import receiver_pb2, tensor_pb2, transmitter_pb2
from tests.helpers.cpu_time import cpu_seconds
from tests.helpers.fuzzing import FATAL, Seeds, stream_item
from tests.helpers.memory import MIB, forget_peak, peak
from tests.helpers.pictures import file_of, gradient, noise
from tests.helpers.real_services import ServiceProcess, Services

MOST_RISE, MOST_S = 64 * MIB, 20.0
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: 2**31 - 1,
    FieldDescriptor.CPPTYPE_INT64: 2**63 - 1,
    FieldDescriptor.CPPTYPE_UINT32: 2**32 - 1,
    FieldDescriptor.CPPTYPE_UINT64: 2**64 - 1,
    FieldDescriptor.CPPTYPE_ENUM: 2**31 - 1,
}


@pytest.fixture(scope="module")
def seeds(bundles: Path) -> Seeds:
    return Seeds(bundles)


def integers(kind: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All integer fields of a message's type and of the types in it, with the way to them."""
    for field in kind.fields:
        here = (*path, field.name)
        if field.cpp_type in _INTEGERS:
            yield here, field
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            yield from integers(field.message_type, here)


def with_value(message: Message, path: tuple[str, ...], field: Any, value: int) -> Message:
    changed = type(message)()
    changed.CopyFrom(message)
    owner: Any = changed
    for name in path[:-1]:
        owner = getattr(owner, name)
    if field.is_repeated:
        owner.ClearField(field.name)
        getattr(owner, field.name).extend([value] * 3)
    else:
        setattr(owner, field.name, value)
    return changed


def code_of(call: Any) -> str:
    try:
        answers = call()
        if not isinstance(answers, Message):
            list(answers)
    except grpc.RpcError as error:
        return str(error.code().name)  # type: ignore[attr-defined]
    return "OK"


def send(connection: Any, path: str, message: Message) -> str:
    data, name = message.SerializeToString(), path.rpartition("/")[2]
    if name.endswith("Stream"):
        return code_of(lambda: connection.stream_stream(path)(iter([data]), timeout=100))
    if name == "Invert":
        return code_of(lambda: connection.unary_stream(path)(data, timeout=100))
    return code_of(lambda: [connection.unary_unary(path)(data, timeout=100)])


@pytest.mark.parametrize("role", ["transmitter", "channel", "receiver"])
def test_every_integer_of_every_request(role: str, seeds: Seeds, services: Services) -> None:
    service: ServiceProcess = getattr(services, role)
    pid, problems = service.process.pid, []
    (path, messages) = next((p, m) for r, p, m in seeds.calls() if r == role)
    tried: list[tuple[str, Message]] = [(path, message) for message in messages]
    tried.append((f"{path}Stream", stream_item(role, messages[0])))
    if role == "receiver":
        invert = receiver_pb2.InvertRequest(request=messages[-1], preview_every=1)
        tried.append(("/genjscc.v1.ReceiverService/Invert", invert))
    with service.connect() as connection:
        for way, message in tried:
            assert send(connection, way, message) not in FATAL  # what is loaded late is loaded
        for way, message in tried:
            for where, field in integers(message.DESCRIPTOR):
                for value in (0, 1, 2**16, 2**31 - 1, _INTEGERS[field.cpp_type]):
                    before, started = forget_peak(pid), cpu_seconds(pid)
                    code = send(connection, way, with_value(message, where, field, value))
                    seconds, rise = cpu_seconds(pid) - started, peak(pid) - before
                    if code in FATAL or rise > MOST_RISE or seconds > MOST_S:
                        name = ".".join(where)
                        problems.append(f"{name} = {value}: {code}, {rise >> 20} MiB, {seconds} s")
    assert problems == []


def varint(number: int) -> bytes:
    low = bytes([number & 0x7F | (0x80 if number > 0x7F else 0)])
    return low + varint(number >> 7) if number > 0x7F else low


def wrapped(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


LONG = 48 * MIB
EXPANDING = {
    # Two kinds of a `oneof` in turn: each replaces the other, and all of them are kept.
    "kinds": lambda: wrapped(4, b"\x0a\x00\x12\x00" * (LONG // 4)),
    "shape": lambda: wrapped(1, wrapped(2, wrapped(2, b"\x01" * LONG))),
    "text": lambda: wrapped(1, wrapped(2, wrapped(1, b"x" * LONG))),
    "parameters": lambda: wrapped(4, wrapped(4, b"\x12\x03\x0a\x01x" * (LONG // 5))),
}


@pytest.mark.parametrize("kind", EXPANDING)
def test_messages_that_grow_when_they_are_parsed(kind: str, services: Services) -> None:
    data, pid = EXPANDING[kind](), services.channel.process.pid
    before = forget_peak(pid)
    with services.channel.connect() as connection:
        call = connection.unary_unary("/genjscc.v1.ChannelService/Transmit")
        with pytest.raises(grpc.RpcError) as caught:
            call(data, timeout=100)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith("request: got ")
    # The message itself, and copies of it while it changes hands.
    assert peak(pid) - before < 4.5 * LONG


@pytest.mark.parametrize(
    ("method", "code"), [("Check", "NOT_FOUND"), ("Watch", "INVALID_ARGUMENT")]
)
def test_names_of_megabytes_are_not_kept(method: str, code: str, services: Services) -> None:
    with services.channel.connect() as connection:
        call = connection.unary_stream(f"/grpc.health.v1.Health/{method}")
        with pytest.raises(grpc.RpcError) as caught:
            list(call(wrapped(1, b"x" * MIB), timeout=100))
        assert caught.value.code().name == code
        request = health_pb2.HealthCheckRequest()
        assert health_pb2_grpc.HealthStub(connection).Check(request, timeout=100).status == 1


def long_rows(kind: str, height: int, width: int, **options: Any) -> bytes:
    return file_of(np.zeros((height, width, 3), np.uint8), kind, **options)


SLOW = {
    "PNG of a row": lambda: long_rows("PNG", 1, 65535),
    "WebP": lambda: long_rows("WEBP", 256, 16383, lossless=True),
    "JPEG": lambda: long_rows("JPEG", 60, 65500),
    "JPEG of 5000 scans": lambda: many_scans(5000),
}


def many_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = file_of(noise(64, 64), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


@pytest.mark.parametrize("kind", SLOW)
def test_slow_pictures_are_refused_by_name(kind: str, services: Services) -> None:
    pid = services.transmitter.process.pid
    image = tensor_pb2.Image(encoded=SLOW[kind]())
    with services.transmitter.connect() as connection:
        encode = connection.unary_unary("/genjscc.v1.TransmitterService/Encode")
        before, started = forget_peak(pid), cpu_seconds(pid)
        with pytest.raises(grpc.RpcError) as caught:
            encode(transmitter_pb2.EncodeRequest(image=image, snr_db=0.0).SerializeToString())
        assert cpu_seconds(pid) - started < 2
        assert peak(pid) - before < MOST_RISE
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.details().startswith("image.encoded: got ")
        assert "must be at most" in caught.value.details() or "at most" in caught.value.details()
        good = tensor_pb2.Image(encoded=file_of(gradient()))
        encode(transmitter_pb2.EncodeRequest(image=good, snr_db=0.0).SerializeToString())
