# SPDX-License-Identifier: Apache-2.0
"""Receptions as table cells, and as records for programs."""

from __future__ import annotations

from genjscc.client.options import Reception
from genjscc.wire.ratios import format_ratio


def record_of(reception: Reception, snr_db: float) -> dict[str, object]:
    """Convert a reception to a record, with times in seconds."""
    return {
        "model": reception.model,
        "rate": format_ratio(reception.codeword.bandwidth_ratio),
        "k": reception.codeword.k,
        "snr_db": snr_db,
        "measured_snr_db": reception.measured_snr_db,
        "seed": reception.seed,
        "seconds": dict(reception.seconds),
        "inversion": reception.inversion,
        "decoder_snr_db": reception.decoder_snr_db,
        "channel_uses": reception.transmission.channel_uses,
        "ofdm": reception.transmission.ofdm,
    }


def cells(reception: Reception, snr_db: float) -> list[str]:
    """Return k, rho, nominal SNR and measured SNR as table cells."""
    return [
        str(reception.codeword.k),
        format_ratio(reception.codeword.bandwidth_ratio),
        f"{snr_db:g} dB",
        f"{reception.measured_snr_db:.2f} dB",
    ]
