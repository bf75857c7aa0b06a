# SPDX-License-Identifier: Apache-2.0
"""Load with Locust, for those who use it; `genjscc loadtest` needs nothing of it.

    pip install 'genjscc[locust]'
    locust -f deploy/loadtest/locustfile.py --headless -u 20 -r 5 -t 60s

Addresses, TLS and token are those of the SDK: GENJSCC_TRANSMITTER, GENJSCC_CHANNEL,
GENJSCC_RECEIVER, GENJSCC_TLS_CA, GENJSCC_TOKEN and so on. GENJSCC_LOAD_SIZES is a mix of sizes
("64:3 128x96"), GENJSCC_LOAD_RATES one of bandwidth ratios ("1/48:2 1/192").

A user waits for its answer before it sends again, so a service that stands still is asked less:
Locust measures a closed loop. Latencies as independent callers would feel them come from
`genjscc loadtest --arrival-rate`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import grpc
import grpc.experimental.gevent
from locust import User, constant, task

from genjscc.addresses import grpc_target
from genjscc.client.channel_options import channel_options
from genjscc.client.options import Hop, Options
from genjscc.client.protocol import send_steps
from genjscc.client.security import Security
from genjscc.client.transport import ROLES, default_address, new_request_id
from genjscc.errors import GenJSCCError
from genjscc.loadtest.mix import UNSPECIFIED, Mix, parse_weighted
from genjscc.v1 import channel_pb2_grpc, receiver_pb2_grpc, transmitter_pb2_grpc

# Locust's users are greenlets: gRPC must give way to the others while it waits.
grpc.experimental.gevent.init_gevent()

TIMEOUT_S = 30.0


def connect(role: str, security: Security) -> grpc.Channel:
    address = default_address(role)
    security.check(role, address)
    target = grpc_target(address, field=role)
    options = channel_options(retries=False, proxy=security.uses_proxy(address))
    credentials = security.credentials()
    if credentials is None:
        return grpc.insecure_channel(target, options=options)
    if security.server_name:
        options.append(("grpc.ssl_target_name_override", security.server_name))
    return grpc.secure_channel(target, credentials, options=options)


class LinkUser(User):
    """Sends images one after the other. Each hop and the whole way are a request of their own."""

    wait_time = constant(0)

    def on_start(self) -> None:
        sizes = os.environ.get("GENJSCC_LOAD_SIZES", "64").split()
        rates = os.environ.get("GENJSCC_LOAD_RATES", "").split()
        self.mix = Mix(
            parse_weighted(sizes, "GENJSCC_LOAD_SIZES"),
            parse_weighted(rates, "GENJSCC_LOAD_RATES") if rates else UNSPECIFIED,
            UNSPECIFIED,
            snrs_db=[-5.0, 0.0, 5.0],
        )
        self.security = Security.from_environment()
        self.connections = {role: connect(role, self.security) for role in ROLES.values()}
        self.calls: dict[Hop, Callable[..., Any]] = {
            "encode": transmitter_pb2_grpc.TransmitterServiceStub(
                self.connections["transmitter"]
            ).Encode,
            "transmit": channel_pb2_grpc.ChannelServiceStub(self.connections["channel"]).Transmit,
            "decode": receiver_pb2_grpc.ReceiverServiceStub(self.connections["receiver"]).Decode,
        }

    def on_stop(self) -> None:
        for connection in self.connections.values():
            connection.close()

    @task
    def send(self) -> None:
        shot = self.mix.draw()
        metadata = (("x-request-id", new_request_id()), *self.security.metadata())
        started, failure = time.perf_counter(), None
        try:
            steps = send_steps(shot.image, Options(**shot.keywords))
            call = next(steps)
            while True:
                response = self.one_hop(call.hop, call.request, metadata)
                call = steps.send(response)
        except StopIteration:
            pass
        except (grpc.RpcError, GenJSCCError) as error:
            failure = error
        self.report("image", f"{shot.size}", started, 0, failure)

    def one_hop(self, hop: Hop, request: Any, metadata: Any) -> Any:
        started = time.perf_counter()
        try:
            response = self.calls[hop](request, timeout=TIMEOUT_S, metadata=metadata)
        except grpc.RpcError as error:
            self.report("gRPC", hop, started, 0, error)
            raise
        self.report("gRPC", hop, started, response.ByteSize(), None)
        return response

    def report(
        self, kind: str, name: str, started: float, length: int, failure: Exception | None
    ) -> None:
        if isinstance(failure, grpc.Call):
            failure = RuntimeError(failure.code().name)  # one row per status
        self.environment.events.request.fire(
            request_type=kind,
            name=name,
            response_time=(time.perf_counter() - started) * 1e3,
            response_length=length,
            exception=failure,
            context={},
        )
