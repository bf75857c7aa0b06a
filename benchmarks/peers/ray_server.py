# SPDX-License-Identifier: Apache-2.0
"""Ray Serve behind its gRPC proxy, with our protocol: the same messages as our services.

As its documentation has it: gRPC servicer functions at the start, `@serve.batch`, more ongoing
requests for asynchronous deployments, and the flags for throughput.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
PATHS = [str(FOLDER), str(FOLDER.parents[1])]
# Before Ray is imported; its workers inherit them.
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "PYTHONPATH": os.pathsep.join([*PATHS, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
}
sys.path[:0] = PATHS

import ray  # noqa: E402
from model import MAX_BATCH, Model  # noqa: E402
from ray import serve  # noqa: E402
from ray.serve.config import gRPCOptions  # noqa: E402

from genjscc.v1 import codeword_pb2, receiver_pb2, tensor_pb2, transmitter_pb2  # noqa: E402

WAIT_S = float(sys.argv[3]) / 1e3 if len(sys.argv) > 3 else 0.0
SERVICERS = [
    "genjscc.v1.transmitter_pb2_grpc.add_TransmitterServiceServicer_to_server",
    "genjscc.v1.receiver_pb2_grpc.add_ReceiverServiceServicer_to_server",
]


class Pair:
    """Encoder and decoder, of which one is called."""

    def __init__(self) -> None:
        self._network = Model()

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=WAIT_S)
    async def _encode(self, images: list[bytes]) -> list[bytes]:
        return self._network.encode(images)

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=WAIT_S)
    async def _decode(self, codewords: list[bytes]) -> list[bytes]:
        return self._network.decode(codewords)

    async def Encode(self, request: Any) -> Any:  # noqa: N802 (the method's name in the protocol)
        symbols = await self._encode(request.image.raw.rgb)
        return transmitter_pb2.EncodeResponse(
            codeword=codeword_pb2.Codeword(symbols=tensor_pb2.ComplexTensor(data=symbols))
        )

    async def Decode(self, request: Any) -> Any:  # noqa: N802
        pixels = await self._decode(request.received.symbols.data)
        return receiver_pb2.DecodeResponse(
            image=tensor_pb2.Image(raw=tensor_pb2.RawImage(rgb=pixels))
        )


def main() -> None:
    ray.init(
        num_cpus=os.cpu_count(),
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=128 * 2**20,
    )
    serve.start(
        http_options={"location": "NoServer"},
        grpc_options=gRPCOptions(port=int(sys.argv[1]), grpc_servicer_functions=SERVICERS),
    )
    deployment = serve.deployment(max_ongoing_requests=1000, ray_actor_options={"num_cpus": 1})
    serve.run(deployment(Pair).bind())
    threading.Event().wait()


if __name__ == "__main__":
    main()
