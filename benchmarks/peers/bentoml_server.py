# SPDX-License-Identifier: Apache-2.0
"""BentoML: a batchable API with strings in lists, as in its guide on adaptive batching.

`concurrency` is the batch size, as its guide recommends. Its batching adapts by itself; the
latency limit is high, because what it thinks too slow it refuses.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import bentoml
from model import MAX_BATCH, Model


@bentoml.service(workers=1, traffic={"concurrency": MAX_BATCH, "timeout": 60})
class Pair:
    """Encoder or decoder, selected by the environment."""

    def __init__(self) -> None:
        network = Model()
        is_encoder = os.environ["PEER_ROLE"] == "transmitter"
        self._run = network.encode if is_encoder else network.decode

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=10_000)
    def predict(self, data: list[str]) -> list[str]:
        answers = self._run([base64.b64decode(one) for one in data])
        return [base64.b64encode(one).decode() for one in answers]


def main() -> None:
    port, role = sys.argv[1], sys.argv[2]
    command = [sys.executable, "-m", "bentoml", "serve", "bentoml_server:Pair"]
    command += ["--host", "127.0.0.1", "--port", port]
    folder = Path(__file__).parent
    environment = os.environ | {"PEER_ROLE": role, "BENTOML_DO_NOT_TRACK": "True"}
    sys.exit(subprocess.run(command, cwd=folder, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
