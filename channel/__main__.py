# SPDX-License-Identifier: Apache-2.0
"""Entry point of `python -m channel`: parse the flags, then serve."""

from __future__ import annotations

import genjscc.serving  # noqa: F401 (before gRPC is loaded: its verbosity)
from channel.service import channel_service
from genjscc.serving.server import run_process
from genjscc.serving.settings import ChannelSettings, read_settings


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM."""
    settings = read_settings(ChannelSettings, "channel", arguments)
    run_process(channel_service(settings), settings)


if __name__ == "__main__":
    main()
