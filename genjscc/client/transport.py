# SPDX-License-Identifier: Apache-2.0
"""gRPC channels to the three services, and their errors as ours."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from genjscc.client.options import HOPS, Hop
from genjscc.errors import GenJSCCError, UnavailableError, error_from_status
from genjscc.v1 import channel_pb2_grpc, receiver_pb2_grpc, transmitter_pb2_grpc

ROLES: dict[Hop, str] = {"encode": "transmitter", "transmit": "channel", "decode": "receiver"}
DEFAULT_PORTS: dict[str, int] = {"transmitter": 50051, "channel": 50052, "receiver": 50053}
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
REQUEST_ID = "x-request-id"
# What grpc.aio says, with INTERNAL, where a write meets a connection that is just breaking.
_WRITE_FAILED = "Internal error from Core"


def default_address(role: str) -> str:
    """GENJSCC_TRANSMITTER (or _CHANNEL, _RECEIVER) where it is set, else the standard port here."""
    return os.environ.get(f"GENJSCC_{role.upper()}") or f"127.0.0.1:{DEFAULT_PORTS[role]}"


def new_request_metadata() -> tuple[tuple[str, str], ...]:
    """A fresh request id, the same for all hops of an image: their logs can be joined by it."""
    return ((REQUEST_ID, uuid.uuid4().hex),)


@contextmanager
def translated(role: str, address: str) -> Iterator[None]:
    """Turns a gRPC failure inside into the error that it stands for."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error, role, address) from error


def from_rpc_error(error: grpc.aio.AioRpcError, role: str, address: str) -> GenJSCCError:
    """The error that a gRPC failure stands for; one of reachability names the service."""
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.INTERNAL and details == _WRITE_FAILED:
        return UnavailableError(f"{role} at {address}: the connection was lost")
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        details = f"{role} at {address}: {details}"
    return error_from_status(code.value[0], details)


class Transport:
    """One gRPC channel per service. Belongs to one event loop."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self.addresses = addresses
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ]
        self._channels = {
            role: grpc.aio.insecure_channel(address, options=options)
            for role, address in addresses.items()
        }
        self.transmitter = transmitter_pb2_grpc.TransmitterServiceStub(
            self._channels["transmitter"]
        )
        self.channel = channel_pb2_grpc.ChannelServiceStub(self._channels["channel"])
        self.receiver = receiver_pb2_grpc.ReceiverServiceStub(self._channels["receiver"])
        self._unary: dict[Hop, Any] = {
            "encode": self.transmitter.Encode,
            "transmit": self.channel.Transmit,
            "decode": self.receiver.Decode,
        }
        self.streams: dict[Hop, Any] = {
            "encode": self.transmitter.EncodeStream,
            "transmit": self.channel.TransmitStream,
            "decode": self.receiver.DecodeStream,
        }

    async def call(
        self, hop: Hop, request: Any, *, timeout_s: float, metadata: tuple[tuple[str, str], ...]
    ) -> Any:
        """The response to one request. Raises GenJSCCError."""
        role = ROLES[hop]
        with translated(role, self.addresses[role]):
            return await self._unary[hop](request, timeout=timeout_s, metadata=metadata)

    async def wait_ready(self, timeout_s: float) -> None:
        """Until all three services report SERVING.

        Raises:
            UnavailableError: one does not within the time.
        """
        for role in (ROLES[hop] for hop in HOPS):
            stub = health_pb2_grpc.HealthStub(self._channels[role])
            request = health_pb2.HealthCheckRequest()
            watching = stub.Watch(request, timeout=timeout_s, wait_for_ready=True)
            try:
                async for answer in watching:
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        break
            except grpc.aio.AioRpcError as error:
                where = f"{role} at {self.addresses[role]}"
                raise UnavailableError(
                    f"{where} is not ready after {timeout_s:g} s: {error.details()}"
                ) from error
            finally:
                watching.cancel()

    async def close(self) -> None:
        """Closes the channels; calls in flight are cancelled."""
        for channel in self._channels.values():
            await channel.close(None)
