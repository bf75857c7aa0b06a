# SPDX-License-Identifier: Apache-2.0
"""Entry point of `python -m transmitter`: parse the flags, then serve."""

from __future__ import annotations

import genjscc.serving  # noqa: F401 (before gRPC is loaded: its verbosity)
from genjscc.serving.server import run_process
from genjscc.serving.settings import TransmitterSettings, read_settings
from transmitter.service import transmitter_service


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM."""
    settings = read_settings(TransmitterSettings, "transmitter", arguments)
    run_process(transmitter_service(settings), settings)


if __name__ == "__main__":
    main()
