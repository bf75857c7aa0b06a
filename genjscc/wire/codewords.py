# SPDX-License-Identifier: Apache-2.0
"""Conversion between `Codeword` messages and the SDK's objects."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from genjscc.display import card_html, constellation_svg, line
from genjscc.errors import InvalidInputError
from genjscc.limits import Limits
from genjscc.v1 import channel_pb2, codeword_pb2
from genjscc.wire.numbers import checked_snr_db
from genjscc.wire.ratios import format_ratio, parse_ratio
from genjscc.wire.tensors import complex_from_message, complex_to_message

_MAX_NAME = 128


@dataclass(frozen=True, eq=False, repr=False)
class Codeword:
    """One image as channel symbols.

    Attributes:
        symbols: complex64 [k].
        pair_id: of the encoder and decoders that understand it.
        bandwidth_ratio: rho = k/m, complex symbols per real source sample.
        image_size: height and width of the image in pixels.
        snr_db: the SNR in dB that the encoder was told, if any.
    """

    symbols: NDArray[np.complex64]
    pair_id: str
    bandwidth_ratio: Fraction
    image_size: tuple[int, int]
    snr_db: float | None = None

    @property
    def k(self) -> int:
        """Number of complex symbols."""
        return len(self.symbols)

    @property
    def power(self) -> float:
        """Average power per symbol, linear."""
        return float(np.mean(np.abs(self.symbols.astype(np.complex128)) ** 2))

    def _facts(self) -> dict[str, object]:
        height, width = self.image_size
        return {
            "k": self.k,
            "rho": format_ratio(self.bandwidth_ratio),
            "image": f"{width}x{height}",
            "power": f"{self.power:.3f}",
            "pair": self.pair_id,
        }

    def __repr__(self) -> str:
        return line("Codeword", self._facts())

    def _repr_html_(self) -> str:
        return card_html([constellation_svg(self.symbols)], self._facts())


def codeword_to_message(codeword: Codeword) -> codeword_pb2.Codeword:
    """Convert a codeword to a message."""
    height, width = codeword.image_size
    header = codeword_pb2.CodewordHeader(
        pair_id=codeword.pair_id,
        bandwidth_ratio=format_ratio(codeword.bandwidth_ratio),
        num_symbols=codeword.k,
        image_height=height,
        image_width=width,
        snr_db=codeword.snr_db,
    )
    return codeword_pb2.Codeword(header=header, symbols=complex_to_message(codeword.symbols))


def symbols_from_message(
    message: codeword_pb2.Codeword, *, limits: Limits, field: str = "codeword"
) -> NDArray[np.complex64]:
    """Read only the symbols [k] of a message, which is all that a channel needs.

    Raises:
        InvalidInputError: as `complex_from_message`, or not one-dimensional.
    """
    name = f"{field}.symbols"
    symbols = complex_from_message(message.symbols, field=name, max_size=limits.max_symbols)
    if symbols.ndim != 1:
        raise InvalidInputError(
            f"{name}.shape", f"got {list(symbols.shape)}; one codeword has one dimension, [k]"
        )
    return symbols


def codeword_from_message(
    message: codeword_pb2.Codeword, *, limits: Limits, field: str = "codeword"
) -> Codeword:
    """Read and check a codeword in an untrusted message.

    Raises:
        InvalidInputError: a field of header or symbols is missing, wrong or above the limits.
    """
    symbols = symbols_from_message(message, limits=limits, field=field)
    header, name = message.header, f"{field}.header"
    if header.num_symbols != len(symbols):
        raise InvalidInputError(
            f"{name}.num_symbols", f"got {header.num_symbols}; there are {len(symbols)} symbols"
        )
    if not 0 < len(header.pair_id) <= _MAX_NAME:
        raise InvalidInputError(
            f"{name}.pair_id", f"got {len(header.pair_id)} characters; must be 1 to {_MAX_NAME}"
        )
    height, width = header.image_height, header.image_width
    if not 0 < height * width <= limits.max_pixels or max(height, width) > limits.max_side:
        raise InvalidInputError(
            f"{name}.image_height",
            f"got {width}x{height} pixels; must be 1 to {limits.max_pixels} in all, at most "
            f"{limits.max_side} each way",
        )
    snr_db = None
    if header.HasField("snr_db"):
        snr_db = checked_snr_db(header.snr_db, field=f"{name}.snr_db")
    ratio = parse_ratio(header.bandwidth_ratio, field=f"{name}.bandwidth_ratio")
    return Codeword(symbols, header.pair_id, ratio, (height, width), snr_db)


def gains_from_message(
    message: channel_pb2.ChannelState, *, k: int, limits: Limits, field: str = "state"
) -> tuple[NDArray[np.complex64], int]:
    """Read gains of a fading channel, shape [ceil(k/block_length)], and the block length.

    Raises:
        InvalidInputError: their number does not fit k symbols.
    """
    gains = complex_from_message(
        message.gains, field=f"{field}.gains", max_size=limits.max_symbols
    ).ravel()
    if message.block_length < 1:
        raise InvalidInputError(f"{field}.block_length", "got 0; must be at least 1")
    expected = -(-k // message.block_length)
    if len(gains) != expected:
        raise InvalidInputError(
            f"{field}.gains",
            f"got {len(gains)}; {k} symbols in blocks of {message.block_length} have {expected}",
        )
    # A block may be longer than the codeword, which then ends before it.
    return gains, min(message.block_length, k)
