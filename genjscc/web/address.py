# SPDX-License-Identifier: Apache-2.0
"""The page's settings in its address, so that a link shows others the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65536:
        raise ValueError(text)
    return value


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**64:
        raise ValueError(text)
    return value


_KINDS: dict[str, Callable[[str], Any]] = {
    "sample": _count,
    "model": str,
    "rate": str,
    "size": _count,
    "channel": str,
    "k_factor": _number,
    "block": _count,
    "snr_db": _number,
    "seed": _seed,
}


def read_settings(query: Mapping[str, str]) -> dict[str, Any]:
    """Settings by name from the query of an address; what is unknown or malformed is left out."""
    found: dict[str, Any] = {}
    for name, kind in _KINDS.items():
        try:
            found[name] = kind(query[name])
        except (KeyError, ValueError):
            continue
    return found


def write_settings(settings: Mapping[str, Any]) -> str:
    """The query of an address that `read_settings` reads; a setting that is None is left out."""
    return urlencode({name: v for name in _KINDS if (v := settings.get(name)) is not None})
