# SPDX-License-Identifier: Apache-2.0
"""LitServe: one API each for encoding and decoding, base64 in JSON as in its guides.

Its documentation recommends `max_batch_size` and `batch_timeout` for batching.
"""

from __future__ import annotations

import base64
import sys
from typing import Any

import litserve
from model import MAX_BATCH, Model


class _Api(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:  # noqa: ARG002 (LitServe names it)
        self.network = Model()

    def decode_request(self, request: dict[str, str]) -> bytes:
        return base64.b64decode(request["data"])

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return inputs

    def unbatch(self, output: list[bytes]) -> Any:
        return output

    def encode_response(self, output: bytes) -> dict[str, str]:
        return {"data": base64.b64encode(output).decode()}


class Encode(_Api):
    """API from pixels to symbols."""

    def predict(self, inputs: list[bytes]) -> list[bytes]:
        return self.network.encode(inputs)


class Decode(_Api):
    """API from symbols to pixels."""

    def predict(self, inputs: list[bytes]) -> list[bytes]:
        return self.network.decode(inputs)


def main() -> None:
    port, role, wait_ms = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    kind = Encode if role == "transmitter" else Decode
    api = kind(max_batch_size=MAX_BATCH, batch_timeout=wait_ms / 1e3)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
