# SPDX-License-Identifier: Apache-2.0
"""gRPC options of a link's connections: retries, replicas, health, keepalive."""

from __future__ import annotations

import json
from typing import Any

from genjscc.v1 import channel_pb2, receiver_pb2, transmitter_pb2

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_FILES = (transmitter_pb2, channel_pb2, receiver_pb2)

# The first two say that nothing was computed; the last one, where the caller has not asked for it,
# that a busy service has dropped the call. Every call may be repeated: it changes nothing in a
# service. A refusal's own hint when to come again goes before the backoff here.
_RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"],
}
# Where most attempts fail, more of them would only add to the load.
_THROTTLING = {"maxTokens": 20, "tokenRatio": 0.1}


def service_config(*, retries: bool) -> str:
    """Return the service config of a connection, as JSON.

    Calls take turns over the replicas that are connected and say that they serve. Single calls
    are tried again where `retries` says so; streams are resumed by `genjscc.client.resumable`.
    """
    single = [
        {"service": service.full_name, "method": method.name}
        for file in _FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if not (method.client_streaming or method.server_streaming)
    ]
    config: dict[str, Any] = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": ""},
    }
    if retries:
        config["methodConfig"] = [{"name": single, "retryPolicy": _RETRY}]
        config["retryThrottling"] = _THROTTLING
    return json.dumps(config)


def channel_options(*, retries: bool = True, proxy: bool = False) -> list[tuple[str, Any]]:
    """Return the options of each connection.

    Args:
        retries: whether single calls are tried again.
        proxy: whether connections go through what http_proxy and its like name.
    """
    return [
        ("grpc.enable_http_proxy", int(proxy)),
        ("grpc.service_config", service_config(retries=retries)),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        # A request is kept for the next attempt; what is longer than this would not be.
        ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
        # A peer that is gone without a word is noticed after the two together: a call of ten
        # seconds has time left for another replica. The last one holds for other pings too, which
        # take the place of the first's while they are under way.
        ("grpc.keepalive_time_ms", 4_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.http2.ping_timeout_ms", 5_000),
        ("grpc.http2.max_pings_without_data", 0),
        # A service that comes back is found again soon.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 5_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]
