# SPDX-License-Identifier: Apache-2.0
"""gRPC channels to the three services, and translation of their errors."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from genjscc.addresses import grpc_target
from genjscc.client.channel_options import MAX_MESSAGE_BYTES, channel_options
from genjscc.client.options import HOPS, Hop
from genjscc.client.security import Security
from genjscc.errors import (
    GenJSCCError,
    InvalidInputError,
    OverloadedError,
    UnavailableError,
    error_from_status,
)
from genjscc.v1 import channel_pb2_grpc, receiver_pb2, receiver_pb2_grpc, transmitter_pb2_grpc

ROLES: dict[Hop, str] = {"encode": "transmitter", "transmit": "channel", "decode": "receiver"}
DEFAULT_PORTS: dict[str, int] = {"transmitter": 50051, "channel": 50052, "receiver": 50053}
REQUEST_ID = "x-request-id"
Metadata = tuple[tuple[str, str], ...]
# gRPC's own word for "come again after so many milliseconds".
_RETRY_AFTER = "grpc-retry-pushback-ms"
# What grpc.aio says, with INTERNAL, where a write meets a connection that is just breaking.
_WRITE_FAILED = "Internal error from Core"
_LONGEST_S = 365 * 86400.0
# The process that has used gRPC, if any.
_used_in: list[int] = []


def default_address(role: str) -> str:
    """Return GENJSCC_TRANSMITTER (or _CHANNEL, _RECEIVER), or else the standard port on this
    machine.
    """
    return os.environ.get(f"GENJSCC_{role.upper()}") or f"127.0.0.1:{DEFAULT_PORTS[role]}"


def new_request_id() -> str:
    """Return a request id, which all hops of an image share so that their logs can be joined."""
    return uuid.uuid4().hex


@contextmanager
def translated(role: str, address: str) -> Iterator[None]:
    """Translate gRPC errors raised inside this context."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error, role, address) from error


def from_rpc_error(error: grpc.aio.AioRpcError, role: str, address: str) -> GenJSCCError:
    """Translate a gRPC error; errors of reachability name the service."""
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.INTERNAL and details == _WRITE_FAILED:
        return UnavailableError(f"{role} at {address}: the connection was lost")
    if code is grpc.StatusCode.CANCELLED:
        # A caller that gives up learns it by asyncio's own exception.
        return UnavailableError(f"{role} at {address}: the service dropped the call ({details})")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return OverloadedError(details, retry_after_s=_retry_after_s(error))
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        details = f"{role} at {address}: {details}{_about_tls(details)}"
    return error_from_status(code.value[0], details)


def _about_tls(details: str) -> str:
    """A remark where one side uses TLS and the other does not, or does not trust it."""
    if "; last error: " not in details:  # of connecting
        return ""
    if "WRONG_VERSION_NUMBER" in details:
        return "; this link uses TLS, and the service does not"
    if "CERTIFICATE_VERIFY_FAILED" in details:
        return "; GENJSCC_TLS_CA names the authority of the service's certificate"
    if details.endswith("Socket closed"):
        return "; this link does not use TLS: if the service does, set GENJSCC_TLS_CA"
    return ""


def _retry_after_s(error: grpc.aio.AioRpcError) -> float | None:
    metadata: Any = error.trailing_metadata() or ()  # pairs; the stubs say otherwise
    for key, value in metadata:
        if key == _RETRY_AFTER and isinstance(value, str) and value.isdecimal():
            return int(value) / 1000
    return None


def time_limit(seconds: float) -> float | None:
    """Convert a time to gRPC's form, in which no limit is None; very large times would overflow."""
    return None if seconds > _LONGEST_S else seconds


def refuse_after_fork() -> None:
    """Raise UnavailableError in a process forked from one that has used gRPC.

    What gRPC keeps in its threads is gone there, and every call would wait for ever.
    """
    if _used_in and os.getpid() not in _used_in:
        raise UnavailableError(
            f"link: process {os.getpid()} was forked from {_used_in[0]}, which had used gRPC "
            "already, and gRPC does not survive that; use a link in the parent alone after the "
            "fork, or start workers by multiprocessing's 'spawn' (DataLoader: "
            "multiprocessing_context='spawn')"
        )


def checked_length(request: Any, field: str) -> Any:
    """Check that a request is short enough for the services.

    Raises:
        InvalidInputError: it is longer than any message may be.
    """
    if request.ByteSize() > MAX_MESSAGE_BYTES:
        raise InvalidInputError(
            field, f"makes a message of {request.ByteSize()} bytes; at most {MAX_MESSAGE_BYTES}"
        )
    return request


class Transport:
    """One gRPC channel per service, on one event loop."""

    def __init__(
        self, addresses: dict[str, str], security: Security, *, retries: bool = True
    ) -> None:
        refuse_after_fork()
        _used_in[:] = [os.getpid()]
        self.addresses = addresses
        self._security = security
        credentials = security.credentials()
        self._channels = {
            role: _open(role, address, security, credentials, retries=retries)
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

    def metadata(self, request_id: str, trace: Metadata = ()) -> Metadata:
        """Return the metadata of a call."""
        return ((REQUEST_ID, request_id), *self._security.metadata(), *trace)

    async def call(self, hop: Hop, request: Any, *, timeout_s: float, metadata: Metadata) -> Any:
        """Return the response to one request. Raises GenJSCCError."""
        role = ROLES[hop]
        with translated(role, self.addresses[role]):
            return await self._unary[hop](
                checked_length(request, hop), timeout=time_limit(timeout_s), metadata=metadata
            )

    async def invert(
        self, request: receiver_pb2.InvertRequest, *, timeout_s: float, metadata: Metadata
    ) -> AsyncGenerator[receiver_pb2.InvertResponse]:
        """Yield the messages of an inversion; closing it stops the work. Raises GenJSCCError."""
        role = ROLES["decode"]
        with translated(role, self.addresses[role]):
            call = self.receiver.Invert(
                checked_length(request, "decode"),
                timeout=time_limit(timeout_s),
                metadata=metadata,
            )
            try:
                async for message in call:
                    yield message
            finally:
                call.cancel()

    async def wait_ready(self, timeout_s: float) -> None:
        """Wait until all three services report SERVING.

        Raises:
            UnavailableError: one does not within the time.
        """
        for role in (ROLES[hop] for hop in HOPS):
            stub = health_pb2_grpc.HealthStub(self._channels[role])
            request = health_pb2.HealthCheckRequest()
            watching = stub.Watch(request, timeout=time_limit(timeout_s), wait_for_ready=True)
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

    async def wait_connected(self, hop: Hop) -> None:
        """Wait until a serving replica of a service is connected."""
        channel = self._channels[ROLES[hop]]
        while (state := channel.get_state(try_to_connect=True)) != grpc.ChannelConnectivity.READY:
            await channel.wait_for_state_change(state)

    async def close(self) -> None:
        """Close the channels; calls in flight are cancelled."""
        for channel in self._channels.values():
            await channel.close(None)


def _open(
    role: str,
    address: str,
    security: Security,
    credentials: grpc.ChannelCredentials | None,
    *,
    retries: bool,
) -> grpc.aio.Channel:
    security.check(role, address)
    target = grpc_target(address, field=role)
    options = channel_options(retries=retries, proxy=security.uses_proxy(address))
    if target != address:
        # gRPC would take the whole list for the name of the host.
        options = [*options, ("grpc.default_authority", address.partition(",")[0].strip())]
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options)
    if security.server_name:
        options = [*options, ("grpc.ssl_target_name_override", security.server_name)]
    return grpc.aio.secure_channel(target, credentials, options=options)
