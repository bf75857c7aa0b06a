# SPDX-License-Identifier: Apache-2.0
"""`genjscc models`: list the transmitter's models."""

from __future__ import annotations

import typer
from rich.table import Table

from genjscc.cli.console import present
from genjscc.cli.options import Transmitter
from genjscc.client.link import Link


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(models)


def models(transmitter: Transmitter = None) -> None:
    """List the models of a running transmitter."""
    with Link(transmitter=transmitter, timeout_s=5.0) as link:
        offered = link.models()
    table = Table("model", "scheme", "bandwidth ratios", "trained on", "size", "SNR / dB", "pair")
    for model in offered:
        encoder = model.encoder_pair_id
        low, high = model.snr_db
        table.add_row(
            f"{model.name}{' (default)' if model.is_default else ''}",
            model.scheme,
            ", ".join(model.bandwidth_ratios),
            model.domain,
            f"{model.image_size}x{model.image_size}",
            f"{low:g} to {high:g}",
            f"{model.pair_id} (encoder of {encoder})" if encoder else model.pair_id,
        )
    present(table, results=offered)
