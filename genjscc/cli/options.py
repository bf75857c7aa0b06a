# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from genjscc.client.options import CHANNELS, Awgn, Fading, Noiseless
from genjscc.errors import InvalidInputError, quoted
from genjscc.wire.ofdm import Ofdm

# Services.
Transmitter = Annotated[
    str | None, typer.Option(help="Address host:port.", envvar="GENJSCC_TRANSMITTER")
]
ChannelAddress = Annotated[
    str | None, typer.Option("--channel", help="Address host:port.", envvar="GENJSCC_CHANNEL")
]
Receiver = Annotated[str | None, typer.Option(help="Address host:port.", envvar="GENJSCC_RECEIVER")]

# Networks.
Bundles = Annotated[Path | None, typer.Option(help="Folder of the trained models.")]
Device = Annotated[str, typer.Option(help="PyTorch device of the networks.")]
GeneratorDevice = Annotated[str, typer.Option(help="PyTorch device.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads.")]
GeneratorPath = Annotated[Path, typer.Argument(help="Bundle folder or checkpoint.")]

# Images.
TestImages = Annotated[Path, typer.Argument(help="Folder of test images.")]
Num = Annotated[int, typer.Option(min=0, help="Images, evenly spaced over the folder; 0: all.")]
NumImages = Annotated[int, typer.Option(min=2, help="Images, evenly spaced over the folder.")]
Size = Annotated[int, typer.Option(min=0, help="Central squares of that side; 0: as they are.")]
DatasetName = Annotated[
    str, typer.Option("--dataset", help="Its name; default: the folder's parent.")
]
SplitName = Annotated[str, typer.Option("--split", help="Its split; default: the folder's name.")]

# Measurements.
Snrs = Annotated[str, typer.Option("--snr-db", help="SNRs in dB, with commas.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the noise; image number i has SEED + i.")]
Perceptual = Annotated[str, typer.Option(help="Perceptual distances with commas, auto or none.")]

# What is written.
ResultsAndPicture = Annotated[
    Path, typer.Argument(help="JSON file to write; a picture goes beside it.")
]
Notes = Annotated[str, typer.Option(help="A remark for the file.")]
Preview = Annotated[bool, typer.Option(help="Show pictures, where standard output is a terminal.")]


class ChannelName(StrEnum):
    """Kinds of channel on the command line."""

    AWGN = "awgn"
    RAYLEIGH = "rayleigh"
    RICIAN = "rician"
    NOISELESS = "noiseless"
    OFDM = "ofdm"
    TDL_A = "tdl-a"
    TDL_B = "tdl-b"
    TDL_C = "tdl-c"
    TDL_D = "tdl-d"
    TDL_E = "tdl-e"


class SnrName(StrEnum):
    """Ways in which the decoder learns the SNR."""

    KNOWN = "known"
    ESTIMATED = "estimated"


OfdmPairs = Annotated[
    list[str] | None,
    typer.Option(
        "--ofdm",
        help="FIELD=VALUE for ofdm and tdl, as delay_spread_ns=300, speed_mps=10 or "
        "estimation=ls; repeat for more.",
    ),
]
SnrKnown = Annotated[
    SnrName,
    typer.Option("--snr", help="estimated: decode with an SNR estimated at the receiver."),
]


def channel_of(
    name: ChannelName, k_factor: float, block_length: int, ofdm: list[str] | None = None
) -> Awgn | Fading | Noiseless | Ofdm:
    """Return the channel that the options describe.

    Raises:
        InvalidInputError: a FIELD=VALUE pair is malformed, or not for this channel.
    """
    channel = CHANNELS[name.value]
    if isinstance(channel, Ofdm):
        return replace(channel, **ofdm_values(ofdm or []))
    if ofdm:
        raise InvalidInputError("--ofdm", f"got {quoted(ofdm[0])}; {name.value} is not over OFDM")
    if isinstance(channel, Fading):
        return Fading(k_factor if name is ChannelName.RICIAN else 0.0, block_length)
    return channel


def ofdm_values(pairs: list[str]) -> dict[str, Any]:
    """Parse FIELD=VALUE pairs to fields of `Ofdm` by name.

    Raises:
        InvalidInputError: not of that form, no such field, or no number in a field of numbers.
    """
    known = {field.name: field.default for field in fields(Ofdm) if field.name != "profile"}
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise InvalidInputError("--ofdm", f"got {quoted(pair)}; must be FIELD=VALUE")
        if name not in known:
            raise InvalidInputError("--ofdm", f"got {quoted(name)}; there are {', '.join(known)}")
        kind: Any = float if known[name] is None else type(known[name])
        try:
            values[name] = kind(text)
        except ValueError as error:
            raise InvalidInputError(f"--ofdm {name}", f"got {quoted(text)}; {error}") from error
    return values


_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)


def parse_size(text: str) -> tuple[int, int]:
    """Parse width and height in pixels from "768x512". Raises InvalidInputError."""
    found = _SIZE.fullmatch(text)
    if not found or not int(found[1]) * int(found[2]):
        raise InvalidInputError("--size", f"got {quoted(text)}; must be as 768x512")
    return int(found[1]), int(found[2])
