# SPDX-License-Identifier: Apache-2.0
"""Fuzzing of the input validation and of running services with mutated messages.

Findings are: an exception of another class than GenJSCC's, a status INTERNAL or UNKNOWN, a
timeout, or a service that no longer works afterwards.
"""

from __future__ import annotations

import asyncio
import io
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from channel.service import ChannelEngine
from genjscc.client.options import Fading, Noiseless, Options, PluginChannel
from genjscc.client.protocol import decode_request, read_transmission, transmit_request
from genjscc.errors import GenJSCCError
from genjscc.limits import Limits
from genjscc.serving.engine import answer
from genjscc.serving.settings import ChannelSettings, ReceiverSettings, TransmitterSettings
from genjscc.v1 import channel_pb2, model_pb2, receiver_pb2, tensor_pb2, transmitter_pb2
from genjscc.wire.codewords import codeword_from_message
from receiver.service import ReceiverEngine
from tests.helpers.raw_http2 import conversation
from transmitter.service import TransmitterEngine

ANSWER_S = 30.0
AT_A_TIME = 16
EXAMPLES_AT_A_TIME = 5_000
FATAL = {"INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED"}

# A mutation: its kind, its position (a fraction of the length or of the fields), and a number.
Op = tuple[int, float, int]
OPS = st.lists(
    st.tuples(st.integers(0, 9), st.floats(0, 1), st.integers(0, 2**64 - 1)),
    min_size=1,
    max_size=5,
)
NUMBERS = (
    0,
    1,
    -1,
    2**7,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**53,
    2**63 - 1,
    2**63,
    2**64 - 1,
    -(2**63),
)
FLOATS = (0.0, -0.0, 1e-45, 1e30, -1e308, float("inf"), float("-inf"), float("nan"), 59.9, -31.0)
TEXTS = ("", "x", "cf32_le", "1/48", "1/0", "-1/2", "1e999999999", "..", "a" * 10_000, "\0", "ö😀")


def random_ops(rng: random.Random) -> list[Op]:
    return [
        (rng.randrange(10), rng.random(), rng.getrandbits(64)) for _ in range(rng.randint(1, 5))
    ]


def mutate_bytes(data: bytes, op: Op) -> bytes:
    """Apply one change to a message's bytes; small changes find the most."""
    kind, where, number = op
    at = int(where * len(data)) if data else 0
    some = number.to_bytes(8, "little")
    length = number % 64
    match kind:
        case 0 if data:  # flip a bit
            at = min(at, len(data) - 1)
            return data[:at] + bytes([data[at] ^ (1 << number % 8)]) + data[at + 1 :]
        case 1:  # overwrite
            return data[:at] + some[: number % 8 + 1] + data[at + number % 8 + 1 :]
        case 2:  # delete
            return data[:at] + data[at + length :]
        case 3:  # repeat
            return data[:at] + data[at : at + length] * 2 + data[at + length :]
        case 4:  # insert a huge varint
            return data[:at] + b"\xff" * (number % 10) + b"\x7f" + data[at:]
        case _:  # truncate
            return data[:at]


def fields_of(message: Message) -> list[tuple[Message, FieldDescriptor]]:
    """List all fields of a message and its submessages, set or not."""
    found: list[tuple[Message, FieldDescriptor]] = []
    for field in message.DESCRIPTOR.fields:
        found.append((message, field))
        if (
            field.message_type is not None
            and not field.is_repeated
            and message.HasField(field.name)
        ):
            found += fields_of(getattr(message, field.name))
    return found


def mutate_field(message: Message, op: Op) -> None:
    """Set one field to an edge value, clear it, or add an element."""
    _, where, number = op
    fields = fields_of(message)
    owner, field = fields[min(int(where * len(fields)), len(fields) - 1)]
    if number % 7 == 0:
        owner.ClearField(field.name)
        return
    if field.message_type is not None:
        target = getattr(owner, field.name)
        if field.message_type.GetOptions().map_entry:
            key, value = (edge_value(part, number // 7) for part in field.message_type.fields)
            target[key] = value
        elif field.is_repeated:
            target.add()
        else:
            target.SetInParent()
        return
    value = edge_value(field, number // 7)
    try:
        if field.is_repeated:
            getattr(owner, field.name).extend([value] * (number % 5))
        else:
            setattr(owner, field.name, value)
    except ValueError:
        return  # out of the field's range: protobuf refuses to set it


def edge_value(field: FieldDescriptor, number: int) -> Any:
    """Return an edge value of a field's type, which checks tend to forget."""
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return number.to_bytes(8, "little") * (number % 5)
        case FieldDescriptor.CPPTYPE_STRING:
            return TEXTS[number % len(TEXTS)]
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return FLOATS[number % len(FLOATS)]
        case FieldDescriptor.CPPTYPE_BOOL:
            return bool(number % 2)
        case FieldDescriptor.CPPTYPE_ENUM:
            return number % 9 - 1
        case _:
            return NUMBERS[number % len(NUMBERS)]


def mutate(message: Message, ops: Sequence[Op]) -> bytes:
    """Mutate a message's fields, then its bytes; half of the time only fields, because few
    messages with changed bytes can be parsed."""
    changed = type(message)()
    changed.CopyFrom(message)
    fields_alone = ops[0][2] % 2 == 0
    for op in ops:
        if fields_alone or op[0] >= 6:
            mutate_field(changed, op)
    data = changed.SerializeToString()
    for op in ops:
        if not fields_alone and op[0] < 6:
            data = mutate_bytes(data, op)
    return data


def scaled(symbols: Any, snr_db: float, rng: Any, *, factor: float = 1.0) -> Any:
    """Scale the symbols: a channel plug-in."""
    return symbols * factor


class Seeds:
    """Engines, and valid messages of each call as starting points."""

    def __init__(self, bundles: Path | None) -> None:
        models: dict[str, Any] = {} if bundles is None else {"bundles": bundles}
        self.transmitter = TransmitterEngine(TransmitterSettings(**models))
        self.channel = ChannelEngine(ChannelSettings(), plugins={"scaled": scaled})
        self.receiver = ReceiverEngine(ReceiverSettings(**models))
        pixels = np.random.default_rng(0).integers(0, 256, (16, 32, 3), dtype=np.uint8)
        raw = tensor_pb2.RawImage(height=16, width=32, rgb=pixels.tobytes())
        images = [tensor_pb2.Image(raw=raw)]
        for kind in ("PNG", "JPEG", "WEBP"):
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, kind)
            images.append(tensor_pb2.Image(encoded=file.getvalue()))
        self.encode = [transmitter_pb2.EncodeRequest(image=i, snr_db=0.0) for i in images]
        response = answer(self.transmitter, self.encode[0])
        codeword = codeword_from_message(response.codeword, limits=Limits())
        self.transmit: list[Message] = []
        self.decode: list[Message] = []
        for kind in (
            Options(),
            Options(channel=Noiseless()),
            Options(channel=Fading(0, 7)),
            Options(channel=Fading(2.0, 3, equalize_at="receiver")),
            Options(channel=PluginChannel("scaled", {"factor": 2.0})),
        ):
            request = transmit_request(codeword, kind)
            self.transmit.append(request)
            transmission = read_transmission(answer(self.channel, request), kind)
            self.decode.append(decode_request(transmission, kind))
        inverse = receiver_pb2.DecodeRequest()
        inverse.CopyFrom(self.decode[0])
        inverse.scheme = model_pb2.SCHEME_INVERSE_JSCC
        inverse.inversion.steps.extend([1, 0, 0, 0])
        self.decode.append(inverse)

    def calls(self) -> list[tuple[str, str, list[Message]]]:
        """Role, method path and valid messages of each call."""
        return [
            ("transmitter", "/genjscc.v1.TransmitterService/Encode", [*self.encode]),
            ("channel", "/genjscc.v1.ChannelService/Transmit", self.transmit),
            ("receiver", "/genjscc.v1.ReceiverService/Decode", self.decode),
        ]


class Findings:
    """Counts of mutations and their findings."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Counter[str]] = {}
        self.bad: list[str] = []

    @property
    def total(self) -> int:
        """Number of mutations."""
        return sum(sum(counter.values()) for counter in self.outcomes.values())

    def note(self, target: str, outcome: str) -> None:
        self.outcomes.setdefault(target, Counter())[outcome] += 1

    def found(self, what: str) -> None:
        self.bad.append(what)
        sys.stderr.write(f"FOUND: {what}\n")


def fuzz_checks(seeds: Seeds, count: int, first_seed: int, findings: Findings) -> None:
    """Fuzz the engines' `prepare`, without a network."""
    targets: list[tuple[str, Callable[[Any], object], list[Any]]] = [
        ("transmitter.prepare", seeds.transmitter.prepare, seeds.encode),
        ("channel.prepare", seeds.channel.prepare, seeds.transmit),
        ("receiver.prepare", seeds.receiver.prepare, seeds.decode),
    ]
    examples = [(name, check, message) for name, check, all_ in targets for message in all_]

    def run(example: tuple[str, Callable[[Any], object], Message], ops: list[Op]) -> None:
        name, check, message = example
        try:
            check(type(message).FromString(mutate(message, ops)))
        except DecodeError:
            findings.note(name, "not a message")
        except GenJSCCError as error:
            findings.note(name, error.code[1])
            if error.code[1] in FATAL:
                raise
        else:
            findings.note(name, "accepted")

    done = 0
    while done < count:
        portion = min(EXAMPLES_AT_A_TIME, count - done)
        configured = settings(
            max_examples=portion,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )(seed(first_seed + done)(given(st.sampled_from(examples), OPS)(run)))
        try:
            configured()
        except Exception as error:  # noqa: BLE001 (that is what is looked for)
            findings.found(f"checks, seed {first_seed + done}: {type(error).__name__}: {error}")
        done += portion


async def fuzz_calls(
    seeds: Seeds, addresses: dict[str, str], count: int, rng: random.Random, findings: Findings
) -> None:
    """Send mutated messages in unary and streaming calls."""
    connections = {
        role: grpc.aio.insecure_channel(a, options=[("grpc.max_send_message_length", -1)])
        for role, a in addresses.items()
    }
    left = count

    async def one() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            role, path, messages = rng.choice(seeds.calls())
            ops = random_ops(rng)
            message = rng.choice(messages)
            if rng.random() < 0.2:
                path, message = f"{path}Stream", stream_item(role, message)
            elif role == "receiver" and rng.random() < 0.1:
                path = "/genjscc.v1.ReceiverService/Invert"
                message = receiver_pb2.InvertRequest(request=message, preview_every=1)
            data = mutate(message, ops)
            name = path.rpartition("/")[2]
            if name.endswith("Stream"):
                call = connections[role].stream_stream(path)(iter([data]), timeout=ANSWER_S)
                code = await end_of_stream(role, call)
            elif name == "Invert":
                call = connections[role].unary_stream(path)(data, timeout=ANSWER_S)
                code = await end_of_answers(call)
            else:
                call = connections[role].unary_unary(path)(data, timeout=ANSWER_S)
                code = (await call.code()).name
            findings.note(name, code)
            if code in FATAL:
                details = await call.details()
                findings.found(f"{name}: {code} {details}: {data[:200].hex()} ({ops})")

    await asyncio.gather(*(one() for _ in range(AT_A_TIME)))
    for connection in connections.values():
        await connection.close()


async def end_of_stream(role: str, call: Any) -> str:
    """Return the worst status of a stream: that of an item, or its own."""
    kind: Any = {
        "transmitter": transmitter_pb2.EncodeStreamResponse,
        "channel": channel_pb2.TransmitStreamResponse,
        "receiver": receiver_pb2.DecodeStreamResponse,
    }[role]
    codes = {code.value[0]: code.name for code in grpc.StatusCode}
    worst = "OK"
    try:
        async for data in call:
            item = kind.FromString(data)
            if item.WhichOneof("result") == "error":
                worst = codes[item.error.code]
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return worst


async def end_of_answers(call: Any) -> str:
    """Read all responses of a call and return its status."""
    try:
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


def stream_item(role: str, request: Message) -> Message:
    """Wrap a request as an item of the service's stream."""
    kind: Any = {
        "transmitter": transmitter_pb2.EncodeStreamRequest,
        "channel": channel_pb2.TransmitStreamRequest,
        "receiver": receiver_pb2.DecodeStreamRequest,
    }[role]
    item: Message = kind(item_id=1, request=request)
    return item


async def connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a TCP connection, retrying while nobody listens."""
    host, _, port = address.rpartition(":")
    until = time.monotonic() + ANSWER_S
    while True:
        try:
            return await asyncio.open_connection(host, int(port))
        except ConnectionError:
            if time.monotonic() >= until:
                raise
            await asyncio.sleep(0.05)


async def fuzz_sockets(
    seeds: Seeds, addresses: dict[str, str], count: int, rng: random.Random, findings: Findings
) -> None:
    """Send mutated conversations and noise, as bytes on TCP connections."""
    left = count

    async def one() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            role, path, messages = rng.choice(seeds.calls())
            if rng.random() < 0.1:
                data = rng.randbytes(rng.randint(0, 2000))
            else:
                data = conversation(path, rng.choice(messages).SerializeToString())
                for op in random_ops(rng):
                    # Most bytes of a conversation are the message; the frames are at the beginning.
                    data = mutate_bytes(data, (op[0] % 6, op[1] ** 4, op[2]))
            reader, writer = await connect(addresses[role])
            try:
                writer.write(data)
                writer.write_eof()
                async with asyncio.timeout(ANSWER_S):
                    while await reader.read(65_536):
                        pass
                findings.note(f"{role} socket", "closed")
            except TimeoutError:
                findings.note(f"{role} socket", "kept open")
            except OSError:
                findings.note(f"{role} socket", "reset")
            finally:
                writer.close()

    await asyncio.gather(*(one() for _ in range(AT_A_TIME)))


async def check_alive(seeds: Seeds, addresses: dict[str, str], findings: Findings) -> None:
    """Check that every service is healthy and answers a valid call."""
    for role, path, messages in seeds.calls():
        async with grpc.aio.insecure_channel(addresses[role]) as connection:
            try:
                stub = health_pb2_grpc.HealthStub(connection)
                health = await stub.Check(health_pb2.HealthCheckRequest(), timeout=ANSWER_S)
                serving = health.status == health_pb2.HealthCheckResponse.SERVING
                await connection.unary_unary(path)(
                    messages[0].SerializeToString(), timeout=ANSWER_S
                )
            except grpc.aio.AioRpcError as error:
                findings.found(f"{role} afterwards: {error.code().name} {error.details()}")
            else:
                if not serving:
                    findings.found(f"{role} afterwards: not serving")
