# SPDX-License-Identifier: Apache-2.0
"""`genjscc cbr`: bandwidth ratio and SNR in the conventions of other papers."""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction
from typing import Annotated

import typer
from rich.table import Table

from genjscc.cli.console import present
from genjscc.cli.options import parse_size
from genjscc.conventions import Rate, Snr, rate_from, snr_from
from genjscc.wire.ratios import format_ratio, parse_fraction

# As genjscc.layers.bottleneck, which needs torch.
_STRIDE, _CHANNELS = 16, 1536


class RateGiven(StrEnum):
    """Conventions of the given ratio."""

    RHO = "rho"
    REAL = "real"
    PIXEL = "pixel"
    FACTOR = "factor"
    K = "k"
    BPP = "bpp"


class SnrGiven(StrEnum):
    """Conventions of the given SNR."""

    SYMBOL = "symbol"
    BIT = "bit"
    REAL_NOISE = "real-noise"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(cbr)


def cbr(
    value: Annotated[str, typer.Argument(help="Such as 1/48, 0.25 or 24576.")],
    size: Annotated[str, typer.Option(help="Image, width x height in pixels.")] = "768x512",
    given: Annotated[
        RateGiven,
        typer.Option(
            help="Convention of VALUE. rho: k/m, complex symbols per source sample. real: 2k/m. "
            "pixel: k per pixel. factor: m/k. k: complex symbols. bpp: bits per pixel."
        ),
    ] = RateGiven.RHO,
    snr_db: Annotated[float, typer.Option(min=-100, max=100, help="SNR in dB.")] = 0.0,
    snr_given: Annotated[
        SnrGiven,
        typer.Option(
            help="Convention of the SNR. symbol: Es/N0. bit: Eb/N0. real-noise: P over the noise "
            "variance per real dimension."
        ),
    ] = SnrGiven.SYMBOL,
    bits_per_symbol: Annotated[
        float | None,
        typer.Option(help="Modulation order times code rate, as 4 * 1/2. Default: capacity."),
    ] = None,
) -> None:
    """Convert a bandwidth ratio and an SNR between the conventions of the field."""
    snr = snr_from(snr_db, snr_given.value, bits_per_symbol)
    side = parse_size(size)
    number = parse_fraction(value, field="value")
    rate = rate_from(number, given.value, side, snr.bits_per_symbol)
    present(
        _rate_table(rate, snr),
        _snr_table(snr),
        results=[{**_rate_record(rate, snr), **_snr_record(snr)}],
    )


def _rate_record(rate: Rate, snr: Snr) -> dict[str, object]:
    padded = [-(-side // _STRIDE) * _STRIDE for side in (rate.width, rate.height)]
    channels = rate.rho * _CHANNELS
    # A network's bottleneck has a whole, even number of channels.
    is_network = channels.denominator == 1 and channels % 2 == 0
    return {
        "width": rate.width,
        "height": rate.height,
        "rho": float(rate.rho),
        "rho_fraction": format_ratio(rate.rho),
        "m": rate.m,
        "k": float(rate.k),
        "real_uses": float(rate.real_uses),
        "real_ratio": float(rate.real_ratio),
        "symbols_per_pixel": float(rate.per_pixel),
        "factor": float(rate.factor),
        "bits_per_pixel": rate.bits_per_pixel(snr.bits_per_symbol),
        "bytes": rate.bits(snr.bits_per_symbol) / 8,
        "symbol_channels": int(channels) if is_network else None,
        "network_k": float(rate.rho * 3 * padded[0] * padded[1]) if is_network else None,
    }


def _snr_record(snr: Snr) -> dict[str, object]:
    return {
        "snr_db": snr.symbol_db,
        "bits_per_symbol": snr.bits_per_symbol,
        "eb_n0_db": snr.bit_db,
        "real_noise_db": snr.real_noise_db,
        "noise_variance": snr.noise_variance,
    }


def _rate_table(rate: Rate, snr: Snr) -> Table:
    found = _rate_record(rate, snr)
    table = Table("quantity", "value", "definition", title=f"{rate.width}x{rate.height} pixels")
    rho = f"{format_ratio(rate.rho)} = {float(rate.rho):.6g}"
    table.add_row("rho, CBR, BCR", rho, "k/m, complex symbols per real source sample")
    table.add_row("m", f"{rate.m}", "real source samples, 3·H·W")
    table.add_row("k", _number(rate.k), "complex symbols (channel uses)")
    table.add_row("real channel uses", _number(rate.real_uses), "2k")
    table.add_row("ratio of real uses", _number(rate.real_ratio), "2k/m, twice rho")
    table.add_row("symbols per pixel", _number(rate.per_pixel), "k/(H·W), three times rho")
    table.add_row("compression", f"{_number(rate.factor)} : 1", "m/k")
    table.add_row("bits per pixel", f"{found['bits_per_pixel']:.4g}", "k·b/(H·W)")
    table.add_row("file that fits", f"{found['bytes']:.6g} bytes", "k·b/8")
    if found["symbol_channels"] is None:
        table.add_row("C_out", "-", "1536·rho is not even: no network has this rho")
    else:
        table.add_row("C_out", f"{found['symbol_channels']}", "channels of a network, 1536·rho")
        if found["network_k"] != float(rate.k):
            network = f"{found['network_k']:.10g}"
            table.add_row("k of a network", network, "the image padded to multiples of 16")
    return table


def _snr_table(snr: Snr) -> Table:
    table = Table("quantity", "value", "definition", title="AWGN, P = 1")
    table.add_row("SNR per symbol", f"{snr.symbol_db:.2f} dB", "Es/N0 = P/sigma²")
    table.add_row("b", f"{snr.bits_per_symbol:.4g}", "bits per symbol; at capacity log2(1 + SNR)")
    table.add_row("SNR per bit", f"{snr.bit_db:.2f} dB", "Eb/N0 = Es/N0 / b")
    table.add_row(
        "SNR over real noise", f"{snr.real_noise_db:.2f} dB", "P/(sigma²/2): noise of one dimension"
    )
    table.add_row("sigma²", f"{snr.noise_variance:.4g}", "noise variance per complex symbol")
    return table


def _number(value: Fraction) -> str:
    return f"{value.numerator}" if value.denominator == 1 else f"{float(value):.6g}"
