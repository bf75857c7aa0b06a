# SPDX-License-Identifier: Apache-2.0
"""What the shell completes: models, bandwidth ratios and schemes.

From the bundles of this machine, read without PyTorch, because a shell waits for neither that nor
a service; a service elsewhere may offer others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import typer

from genjscc.repository import default_models
from genjscc.wire.ratios import format_ratio

_SCHEMES = ("deepjscc", "generative", "inverse")
# Real channels of a codeword with as many symbols as the image has samples.
_WHOLE = 1536


def complete_models(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Names of models that begin so, with what they were trained on."""
    return [
        (name, str(declared.get("domain", "")))
        for name, declared in _declared(context)
        if name.startswith(incomplete)
    ]


def complete_rates(context: typer.Context, incomplete: str) -> list[str]:
    """Bandwidth ratios of the models that were named, or of all."""
    named = context.params.get("model") or ()
    names = [named] if isinstance(named, str) else [*named]
    ratios = {
        Fraction(channels, _WHOLE)
        for name, declared in _declared(context)
        if name in names or not names
        for channels in declared.get("channel_steps") or [declared["symbol_channels"]]
    }
    written = [format_ratio(ratio) for ratio in sorted(ratios)]
    return [rate for rate in written if rate.startswith(incomplete)]


def complete_schemes(incomplete: str) -> list[str]:
    """Ways to decode that begin so."""
    return [scheme for scheme in _SCHEMES if scheme.startswith(incomplete)]


def _declared(context: typer.Context) -> Iterable[tuple[str, dict[str, Any]]]:
    """Name and declaration of each pair; what cannot be read is left out."""
    root = Path(context.params.get("bundles") or default_models())
    for path in sorted(root.glob("*/config.json")):
        try:
            declared = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if isinstance(declared, dict) and isinstance(declared.get("symbol_channels"), int):
            yield path.parent.name, declared
