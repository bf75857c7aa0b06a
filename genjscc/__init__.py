# SPDX-License-Identifier: Apache-2.0
"""Semantic image transmission with learned joint source-channel codes.

    from genjscc import Link

    with Link() as link:
        reception = link.send("photo.png", snr_db=0, rate="1/48", seed=1)
        reception.save("received.png")

What is listed here is public; a name is imported when it is first used, so that a program
which only looks at errors does not load gRPC.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from genjscc.service_packages import find_services_in_clone

if TYPE_CHECKING:
    from genjscc.client.aio import AsyncLink
    from genjscc.client.inversion import InversionOptions, InversionStep, InversionSummary
    from genjscc.client.link import Link
    from genjscc.client.local import LocalLink
    from genjscc.client.options import (
        Awgn,
        Fading,
        Failure,
        ModelInfo,
        Noiseless,
        Options,
        PluginChannel,
        Reception,
        Transmission,
    )
    from genjscc.client.security import Security
    from genjscc.client.sigmf import load_sigmf, save_sigmf
    from genjscc.errors import GenJSCCError
    from genjscc.wire.codewords import Codeword
    from genjscc.wire.ofdm import Ofdm, OfdmReport

_HOMES = {
    "AsyncLink": "genjscc.client.aio",
    "Awgn": "genjscc.client.options",
    "Codeword": "genjscc.wire.codewords",
    "Fading": "genjscc.client.options",
    "Failure": "genjscc.client.options",
    "GenJSCCError": "genjscc.errors",
    "InversionOptions": "genjscc.client.inversion",
    "InversionSummary": "genjscc.client.inversion",
    "InversionStep": "genjscc.client.inversion",
    "Link": "genjscc.client.link",
    "LocalLink": "genjscc.client.local",
    "ModelInfo": "genjscc.client.options",
    "Noiseless": "genjscc.client.options",
    "Ofdm": "genjscc.wire.ofdm",
    "OfdmReport": "genjscc.wire.ofdm",
    "Options": "genjscc.client.options",
    "PluginChannel": "genjscc.client.options",
    "Reception": "genjscc.client.options",
    "Security": "genjscc.client.security",
    "Transmission": "genjscc.client.options",
    "load_sigmf": "genjscc.client.sigmf",
    "save_sigmf": "genjscc.client.sigmf",
}

__all__ = [
    "AsyncLink",
    "Awgn",
    "Codeword",
    "Fading",
    "Failure",
    "GenJSCCError",
    "InversionOptions",
    "InversionStep",
    "InversionSummary",
    "Link",
    "LocalLink",
    "ModelInfo",
    "Noiseless",
    "Ofdm",
    "OfdmReport",
    "Options",
    "PluginChannel",
    "Reception",
    "Security",
    "Transmission",
    "load_sigmf",
    "save_sigmf",
]

find_services_in_clone()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("genjscc")
    if name not in _HOMES:
        raise AttributeError(f"module 'genjscc' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, "__version__"})
