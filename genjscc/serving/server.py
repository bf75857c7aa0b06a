# SPDX-License-Identifier: Apache-2.0
"""Process of a service: gRPC server, health, reflection, metrics, drain on SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, cast

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import start_http_server

from genjscc.addresses import is_loopback, joined
from genjscc.errors import GenJSCCError
from genjscc.serving.call_handler import CallHandler
from genjscc.serving.certificates import end_of
from genjscc.serving.cores import keep_for_device
from genjscc.serving.engine import Engine
from genjscc.serving.health import Health
from genjscc.serving.listener import Listener
from genjscc.serving.logs import Log, set_up_logging
from genjscc.serving.memory import give_back_regularly, keep_large_blocks
from genjscc.serving.metrics import Metrics
from genjscc.serving.reflection import enable_reflection
from genjscc.serving.scheduling.dispatcher import Dispatcher
from genjscc.serving.security import TokenGuard, accepted_tokens, server_credentials
from genjscc.serving.settings import ModelSettings, ServiceSettings
from genjscc.serving.temporary import have_temporary_folder
from genjscc.serving.tracing import make_tracer

log = logging.getLogger("genjscc")
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
# A peer that is gone without a word is noticed after the two together.
_KEEPALIVE_MS, _KEEPALIVE_TIMEOUT_MS = 60_000, 20_000
_SHORTEST_PING_MS = 1_000
_DAY_S = 86_400.0
_SOON_S = 14 * _DAY_S
_BOUNDS = (
    # Of one connection: calls that are opened and reset at once cost others nothing then.
    ("grpc.max_concurrent_streams", 256),
    # Only together with that: a burst of calls waits to be accepted, instead of being dropped.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
    # None but "identity": a message of kilobytes must not become one of megabytes.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.server_max_unrequested_time_in_server", 600),
    ("grpc.http.overload_protection", 0),
)


@dataclass(frozen=True)
class Service:
    """Parameters that make a server the transmitter, the channel or the receiver.

    Attributes:
        role: its name in logs and metrics.
        full_name: of the gRPC service.
        load: makes the engine, loaded and warm; called once, on the device's thread.
        register: adds the servicer to a server.
    """

    role: str
    full_name: str
    load: Callable[[Metrics], Engine[Any, Any, Any, Any]]
    register: Callable[[Dispatcher[Any, Any, Any, Any], Metrics, grpc.aio.Server], None]


class Server:
    """A running service on this event loop, from `start` to `stop`.

    Args:
        service: what it serves.
        settings: of its process.
        written: the process's log, for its metrics.
    """

    def __init__(
        self, service: Service, settings: ServiceSettings, written: Log | None = None
    ) -> None:
        self._service, self._settings = service, settings
        self.metrics = Metrics(service.role, version("genjscc"))
        if written is not None:
            lost = self.metrics.lost_log_lines
            lost.labels("alike").set_function(lambda: written.alike.lost)
            lost.labels("unread").set_function(lambda: written.outlet.lost)
        self.dispatcher: Dispatcher[Any, Any, Any, Any] = Dispatcher(
            lambda: service.load(self.metrics), settings, self.metrics
        )
        self._health = Health()
        self._listener: Listener | None = None
        self.port = 0
        self.metrics_port = -1
        self._metrics_server: Any = None
        self._giving_back: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen, load the models, then report SERVING.

        Raises:
            GenJSCCError: the address is taken, or a model cannot be loaded.
        """
        settings = self._settings
        credentials, tokens = server_credentials(settings), accepted_tokens(settings)
        self._look_at_certificates()
        span = make_tracer(self._service.role, enabled=settings.tracing)
        calls = CallHandler(
            self.metrics,
            TokenGuard(tokens),
            self.dispatcher.enter,
            span,
            arrival_s=settings.arrival_s,
            silence_s=settings.stream_silence_s,
        )
        self._add_services(calls)
        await self._report(_NOT_SERVING)
        address = joined(settings.host, settings.port)
        try:
            self._listener = Listener(
                lambda: self._make_server(calls),
                address,
                credentials,
                restarted=self.metrics.listener_restarts.inc,
                grace_s=settings.grace_s,
            )
            self.port = self._listener.port
            if settings.metrics_port >= 0:
                self._metrics_server, _ = start_http_server(
                    settings.metrics_port, settings.host, registry=self.metrics.registry
                )
                self.metrics_port = self._metrics_server.server_port
        except (RuntimeError, OSError) as error:
            raise GenJSCCError(
                f"cannot listen on {address} or metrics port {settings.metrics_port}: {error}; "
                "another process may have it, 0 picks a free port"
            ) from error
        if not is_loopback(settings.host) and (credentials is None or not tokens):
            log.warning(
                "open to other machines",
                extra={"tls": credentials is not None, "token": bool(tokens)},
            )
        await self._listener.start()
        await self.dispatcher.start()
        self._giving_back = asyncio.create_task(give_back_regularly())
        await self._report(_SERVING)

    def _look_at_certificates(self) -> None:
        for path in (self._settings.tls_certificate, self._settings.tls_client_ca):
            end = None if path is None else end_of(path)
            if end is None:
                continue
            self.metrics.certificate_end.labels(str(path)).set(end)
            left_s = end - time.time()
            if left_s < _SOON_S:
                log.warning(
                    "certificate has ended" if left_s <= 0 else "certificate ends soon",
                    extra={"file": str(path), "days_left": round(left_s / _DAY_S, 1)},
                )

    def _add_services(self, calls: CallHandler) -> None:
        # To generated code a server is what services can be added to.
        server, service = cast("grpc.aio.Server", calls), self._service
        service.register(self.dispatcher, self.metrics, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        enable_reflection((service.full_name, health.SERVICE_NAME), server)

    def _make_server(self, calls: CallHandler) -> grpc.aio.Server:
        longest = self._settings.max_message_bytes
        return grpc.aio.server(
            handlers=[calls],
            options=[
                ("grpc.max_receive_message_length", longest),
                ("grpc.max_send_message_length", longest),
                # Two servers on one port would each get a part of the calls.
                ("grpc.so_reuseport", 0),
                # Clients look after idle connections; gRPC would take that for an attack.
                ("grpc.http2.min_ping_interval_without_data_ms", _SHORTEST_PING_MS),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
                ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
                *_BOUNDS,
            ],
        )

    async def _report(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in ("", self._service.full_name):
            await self._health.set(name, status)
        self.metrics.ready.set(status == _SERVING)

    async def stop(self) -> None:
        """Report NOT_SERVING, let accepted calls finish within the grace period, then close."""
        self.metrics.ready.set(0)
        await self._health.enter_graceful_shutdown()
        self.dispatcher.drain()
        if self._giving_back is not None:
            self._giving_back.cancel()
        if self._listener is not None:
            await self._listener.stop(self._settings.grace_s)
        self.dispatcher.close()
        if self._metrics_server is not None:
            self._metrics_server.shutdown()
            self._metrics_server.server_close()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; print one JSON line with the addresses when ready."""
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        if self._settings.stop_with_parent:
            loop.add_reader(sys.stdin.fileno(), _read_parent, stopping.set)
        starting = asyncio.create_task(self.start())
        waiting = asyncio.create_task(stopping.wait())
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            try:
                await starting
            except GenJSCCError:
                await self.stop()
                raise
            # What is loaded stays: the collector need not look at it again with every call.
            gc.collect()
            gc.freeze()
            self._announce()
            await waiting
        log.info("draining")
        await self.stop()
        log.info("stopped")

    def _announce(self) -> None:
        host = self._settings.host
        ready = {"role": self._service.role, "address": joined(host, self.port)}
        if self.metrics_port >= 0:
            ready["metrics"] = f"http://{joined(host, self.metrics_port)}/metrics"
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        log.info("serving", extra=ready)


def _read_parent(stop: Callable[[], object]) -> None:
    """Read standard input; its end means that the parent process has ended."""
    number = sys.stdin.fileno()
    if not os.read(number, 4096):
        asyncio.get_running_loop().remove_reader(number)
        stop()


def run_process(service: Service, settings: ServiceSettings) -> None:
    """Run a service's process from start to exit."""
    written = set_up_logging(service.role, settings.log_level)
    keep_large_blocks()
    have_temporary_folder()
    try:
        if isinstance(settings, ModelSettings):
            keep_for_device(settings.device_cores)
        asyncio.run(Server(service, settings, written).run())
    except GenJSCCError as error:
        sys.exit(f"error: {error}")
