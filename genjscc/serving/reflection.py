# SPDX-License-Identifier: Apache-2.0
"""Server reflection in two versions: v1, which new tools ask for, and grpcio's v1alpha."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

_V1 = "grpc.reflection.v1.ServerReflection"  # the same messages under another name


def enable_reflection(service_names: Sequence[str], server: grpc.aio.Server) -> None:
    """Let tools such as `buf curl` and grpcurl list and call the services."""
    names = (*service_names, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    servicer = reflection.aio.ReflectionServicer(names)  # type: ignore[attr-defined]
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    generic = grpc.method_handlers_generic_handler(_V1, {"ServerReflectionInfo": handler})
    server.add_generic_rpc_handlers((generic,))
