# SPDX-License-Identifier: Apache-2.0
"""Entry point of `python -m receiver`: parse the flags, then serve."""

from __future__ import annotations

import genjscc.serving  # noqa: F401 (before gRPC is loaded: its verbosity)
from genjscc.serving.server import run_process
from genjscc.serving.settings import ReceiverSettings, read_settings
from receiver.service import receiver_service


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM."""
    settings = read_settings(ReceiverSettings, "receiver", arguments)
    run_process(receiver_service(settings), settings)


if __name__ == "__main__":
    main()
