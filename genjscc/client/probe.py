# SPDX-License-Identifier: Apache-2.0
"""Health check of a service: `python -m genjscc.client.probe HOST:PORT`.

The images' health check: exit code 0 if it does, 1 with one line on standard error if not. It
uses TLS as `genjscc.client` does, by the same variables. Kubernetes has gRPC probes of its own,
for services without TLS.
"""

from __future__ import annotations

import sys
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from genjscc.addresses import grpc_target
from genjscc.client.security import Security
from genjscc.errors import GenJSCCError

_TIMEOUT_S = 3.0


def problem(address: str) -> str | None:
    """Return why no replica at an address is serving; None if one is."""
    try:
        with _connection(address, Security.from_environment()) as connection:
            stub = health_pb2_grpc.HealthStub(connection)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S)
    except GenJSCCError as error:
        return str(error)
    except grpc.RpcError as error:
        return f"{address}: {error.code().name}: {error.details()}"
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        name = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        return f"{address}: {name}"
    return None


def _connection(address: str, security: Security) -> grpc.Channel:
    target, credentials = grpc_target(address, field="address"), security.credentials()
    options: list[tuple[str, Any]] = [("grpc.enable_http_proxy", int(security.uses_proxy(address)))]
    if credentials is None:
        return grpc.insecure_channel(target, options)
    if security.server_name:
        options.append(("grpc.ssl_target_name_override", security.server_name))
    return grpc.secure_channel(target, credentials, options)


def main(arguments: list[str]) -> int:
    """Return the exit code."""
    if len(arguments) == 1:
        why_not = problem(arguments[0])
    else:
        why_not = "usage: python -m genjscc.client.probe HOST:PORT"
    if why_not:
        sys.stderr.write(why_not + "\n")
    return 1 if why_not else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
