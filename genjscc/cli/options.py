# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from genjscc.client.options import Awgn, Fading, Noiseless

Transmitter = Annotated[
    str | None, typer.Option(help="Address host:port.", envvar="GENJSCC_TRANSMITTER")
]
ChannelAddress = Annotated[
    str | None, typer.Option("--channel", help="Address host:port.", envvar="GENJSCC_CHANNEL")
]
Receiver = Annotated[str | None, typer.Option(help="Address host:port.", envvar="GENJSCC_RECEIVER")]

Preview = Annotated[bool, typer.Option(help="Show pictures, where standard output is a terminal.")]


class ChannelName(StrEnum):
    """Kinds of channel on the command line."""

    AWGN = "awgn"
    RAYLEIGH = "rayleigh"
    RICIAN = "rician"
    NOISELESS = "noiseless"


def channel_of(name: ChannelName, k_factor: float, block_length: int) -> Awgn | Fading | Noiseless:
    """The channel that the options describe."""
    if name is ChannelName.NOISELESS:
        return Noiseless()
    if name is ChannelName.AWGN:
        return Awgn()
    return Fading(k_factor if name is ChannelName.RICIAN else 0.0, block_length)
