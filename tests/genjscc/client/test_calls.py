# SPDX-License-Identifier: Apache-2.0
"""Single calls: what is repeated and what is not, whose turn it is, how much time is left."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from fractions import Fraction
from typing import Any

import grpc
import numpy as np
import pytest

from genjscc import AsyncLink, Security
from genjscc.addresses import grpc_target, hosts_of
from genjscc.client.transport import Transport
from genjscc.errors import (
    DeadlineError,
    GenJSCCError,
    InvalidInputError,
    ModelNotFoundError,
    UnavailableError,
    error_from_status,
)
from genjscc.serving.server import Server
from genjscc.serving.settings import ServiceSettings
from genjscc.v1 import (
    channel_pb2,
    channel_pb2_grpc,
    transmitter_pb2,
    transmitter_pb2_grpc,
)
from genjscc.wire.codewords import Codeword, codeword_to_message
from tests.helpers.fake_engines import FakeEngine, answer_of, fake_service, request_for
from tests.helpers.pictures import gradient


class Refusing(channel_pb2_grpc.ChannelServiceServicer):
    """Answers the first calls with a status, the others well."""

    def __init__(self, code: grpc.StatusCode, times: int) -> None:
        self.code, self.times = code, times
        self.asked = 0

    async def Transmit(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked += 1
        if self.asked <= self.times:
            await context.abort(self.code, "not now")
        return channel_pb2.TransmitResponse(received=request.codeword)


@asynccontextmanager
async def plain_server(*servicers: tuple[Any, Any]) -> AsyncIterator[int]:
    """A gRPC server of another hand: neither health nor hints."""
    server = grpc.aio.server()
    for add, servicer in servicers:
        add(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def transmit(address: str, *, count: int = 1, retries: bool = True) -> list[str]:
    """Single calls through the SDK's connection, one after the other."""
    roles = dict.fromkeys(("transmitter", "channel", "receiver"), address)
    transport = Transport(roles, Security(), retries=retries)
    try:
        return [
            answer_of(
                await transport.call(
                    "transmit", request_for("x"), timeout_s=20, metadata=transport.metadata("test")
                )
            )
            for _ in range(count)
        ]
    finally:
        await transport.close()


# CANCELLED that the caller did not ask for comes from a server that dropped the call unread.
REPEATED = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
}


@pytest.mark.parametrize("code", [c for c in grpc.StatusCode if c is not grpc.StatusCode.OK])
async def test_only_what_was_not_begun_is_repeated(code: grpc.StatusCode) -> None:
    add = channel_pb2_grpc.add_ChannelServiceServicer_to_server
    servicer = Refusing(code, times=1)
    async with plain_server((add, servicer)) as port:
        if code in REPEATED:
            assert await transmit(f"127.0.0.1:{port}") == ["x"]
            assert servicer.asked == 2
        else:
            expected = type(error_from_status(code.value[0], "not now"))
            with pytest.raises(GenJSCCError) as caught:
                await transmit(f"127.0.0.1:{port}")
            assert type(caught.value) is expected
            assert servicer.asked == 1


async def test_repeating_ends_and_can_be_left_out() -> None:
    add = channel_pb2_grpc.add_ChannelServiceServicer_to_server
    servicer = Refusing(grpc.StatusCode.UNAVAILABLE, times=1000)
    async with plain_server((add, servicer)) as port:
        with pytest.raises(UnavailableError, match=r"channel at .*: not now"):
            await transmit(f"127.0.0.1:{port}")
        assert servicer.asked == 4
        with pytest.raises(UnavailableError):
            await transmit(f"127.0.0.1:{port}", retries=False)
        assert servicer.asked == 5


async def test_replicas_take_turns_and_those_that_do_not_serve_are_passed_over() -> None:
    engines = [FakeEngine(), FakeEngine(), FakeEngine()]
    loaded = threading.Event()
    async with AsyncExitStack() as stack:
        servers = []
        for number, engine in enumerate(engines):
            before = loaded.wait if number == 2 else None
            server = Server(fake_service(engine, before), ServiceSettings(metrics_port=-1))
            starting = asyncio.create_task(server.start())
            stack.push_async_callback(server.stop)
            while not server.port:
                await asyncio.sleep(0.005)
            if number == 2:
                stack.callback(loaded.set)  # this one is loading for ever
            else:
                await starting
            servers.append(server)
        address = ",".join(f"127.0.0.1:{server.port}" for server in servers)
        # Which are connected at first is a matter of luck: enough calls for both to be.
        assert await transmit(address, count=60) == ["<x>"] * 60
        used = [len(engine.batches) for engine in engines]
        assert min(used[:2]) >= 10
        assert used[2] == 0
        await servers[0].stop()
        assert await transmit(address, count=10) == ["<x>"] * 10
        assert len(engines[1].batches) == used[1] + 10


class Slow(transmitter_pb2_grpc.TransmitterServiceServicer):
    """Takes its time, and notes how much it was given."""

    def __init__(self) -> None:
        self.given: list[float] = []

    async def Encode(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.given.append(context.time_remaining())
        await asyncio.sleep(1.0)
        codeword = Codeword(np.ones(2, np.complex64), "pair", Fraction(1, 48), (8, 8))
        return transmitter_pb2.EncodeResponse(codeword=codeword_to_message(codeword))


class Noting(channel_pb2_grpc.ChannelServiceServicer):
    """Notes how much time is left, and what the caller sent beside."""

    def __init__(self) -> None:
        self.given: list[float] = []
        self.ids: Counter[str] = Counter()

    async def Transmit(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.given.append(context.time_remaining())
        self.ids[dict(context.invocation_metadata())["x-request-id"]] += 1
        await context.abort(grpc.StatusCode.NOT_FOUND, "enough")


async def test_each_hop_gets_what_is_left_of_the_time() -> None:
    slow, noting = Slow(), Noting()
    async with plain_server(
        (transmitter_pb2_grpc.add_TransmitterServiceServicer_to_server, slow),
        (channel_pb2_grpc.add_ChannelServiceServicer_to_server, noting),
    ) as port:
        addresses = dict.fromkeys(("transmitter", "channel", "receiver"), f"127.0.0.1:{port}")
        async with AsyncLink(**addresses, timeout_s=10.0) as link:
            with pytest.raises(ModelNotFoundError, match="enough"):
                await link.send(gradient())
        # gRPC rounds a time up by as much as 3 % where it can send the last one again.
        assert slow.given[0] <= 10.1
        assert noting.given[0] <= 9.0 * 1.03
        async with AsyncLink(**addresses, timeout_s=0.2) as link:
            with pytest.raises(DeadlineError, match="transmitter at"):
                await link.send(gradient())
        async with AsyncLink(**addresses, timeout_s=10.0) as link:
            with pytest.raises(DeadlineError, match="transmitter at"):
                await link.send(gradient(), timeout_s=0.2)
            with pytest.raises(InvalidInputError, match="timeout_s: got 0; must be seconds above"):
                await link.send(gradient(), timeout_s=0)
        # The time was over before the second hop: it has not been asked.
        assert len(noting.given) == 1


async def test_messages_that_no_service_would_read_are_not_sent() -> None:
    huge = np.zeros((5000, 5000, 3), np.uint8)
    async with AsyncLink(transmitter="127.0.0.1:9") as link:
        with pytest.raises(InvalidInputError, match="makes a message of 75"):
            await link.send(huge)
        outcomes = [outcome async for outcome in link.send_many([huge])]
        assert isinstance(outcomes[0].error, InvalidInputError)  # type: ignore[union-attr]


def test_addresses() -> None:
    assert grpc_target("receiver:50053", field="receiver") == "receiver:50053"
    several = "127.0.0.1:1, localhost:2"
    assert grpc_target(several, field="receiver") == "ipv4:127.0.0.1:1,127.0.0.1:2"
    assert grpc_target("[::1]:1,[::1]:2", field="receiver") == "ipv6:[::1]:1,[::1]:2"
    assert grpc_target("dns:///receiver:1", field="receiver") == "dns:///receiver:1"
    assert hosts_of("10.0.0.1:1,[::1]:2") == ["10.0.0.1", "[::1]"]
    for wrong in ("", "host", ":1", "host:", "host:x", "host:70000", "a:1,,b:2"):
        with pytest.raises(InvalidInputError, match="receiver: got"):
            grpc_target(wrong, field="receiver")
    with pytest.raises(InvalidInputError, match="all of IPv4 or all of IPv6"):
        grpc_target("127.0.0.1:1,[::1]:2", field="receiver")
    with pytest.raises(UnavailableError, match=r"receiver at no\.such\.host\.invalid:1"):
        grpc_target("127.0.0.1:1,no.such.host.invalid:1", field="receiver")
