# SPDX-License-Identifier: Apache-2.0
"""Validation of the arguments of links: conversion if their meaning is clear, an error otherwise.

An option of the wrong kind must not become another one in silence. Whether a value is on offer is
for the services to say.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from fractions import Fraction
from numbers import Rational
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from genjscc.client.arrays import TensorLike
from genjscc.client.inversion import InversionOptions
from genjscc.client.options import (
    CHANNELS,
    Awgn,
    Channel,
    Fading,
    Noiseless,
    Options,
    PluginChannel,
    Transmission,
)
from genjscc.errors import InvalidInputError, checked_kind, quoted
from genjscc.wire.codewords import Codeword
from genjscc.wire.numbers import checked_seed, checked_snr_db
from genjscc.wire.ofdm import OFDM_CHOICES, Ofdm
from genjscc.wire.ratios import format_ratio, parse_ratio
from genjscc.wire.schemes import SCHEMES

# Of what a rate may be as a float: 1/48 is not 0.0208333... exactly.
_LARGEST_DENOMINATOR = 100_000
_MOST_SYMBOLS = 2**32 - 1

T = TypeVar("T")


def checked_options(options: Options) -> Options:
    """Check options and return them with every value of its proper type.

    Raises:
        InvalidInputError: one is not what its field holds; the text names it.
    """
    return replace(
        options,
        snr_db=checked_snr_db(_number(options.snr_db)),
        rate=_rate(options.rate),
        model=_text(options.model, "model"),
        scheme=_scheme(options.scheme),
        seed=_seed(options.seed),
        channel=checked_channel(options.channel),
        told_snr_db=_told(options.told_snr_db),
        inversion=checked_kind(options.inversion, (InversionOptions, type(None)), "inversion"),
        snr=_snr(options.snr),
    )


def checked_channel(channel: Channel | str) -> Channel:
    """Return a channel, or the channel with a given name.

    Raises:
        InvalidInputError: no such name, no channel, or a field of the wrong type.
    """
    if isinstance(channel, str):
        if channel not in CHANNELS:
            known = ", ".join(CHANNELS)
            raise InvalidInputError(
                "channel", f"got {quoted(channel)}; must be one of {known}, or a channel's object"
            )
        return CHANNELS[channel]
    checked_kind(channel, (Awgn, Fading, Noiseless, Ofdm, PluginChannel), "channel")
    if isinstance(channel, Ofdm):
        return _checked_ofdm(channel)
    if isinstance(channel, Fading):
        return replace(
            channel,
            k_factor=_plain_number(channel.k_factor, "channel.k_factor"),
            block_length=checked_count(
                channel.block_length, "channel.block_length", most=_MOST_SYMBOLS
            ),
            equalize_at=_one_of(
                channel.equalize_at, ("channel", "receiver"), "channel.equalize_at"
            ),
        )
    if isinstance(channel, PluginChannel):
        checked_kind(channel.name, str, "channel.name")
        checked_kind(channel.parameters, Mapping, "channel.parameters")
    return channel


def _checked_ofdm(options: Ofdm) -> Ofdm:
    """Return the options with values of their types; the channel service checks the ranges."""
    values: dict[str, Any] = {}
    for field in fields(options):
        value, name = getattr(options, field.name), f"channel.{field.name}"
        if field.name in OFDM_CHOICES:
            values[field.name] = _one_of(value, tuple(OFDM_CHOICES[field.name]), name)
        elif isinstance(field.default, int):
            values[field.name] = checked_count(value, name)
        elif value is not None or field.default is not None:
            values[field.name] = _plain_number(value, name)
    return Ofdm(**values)


def checked_count(value: Any, field: str, *, least: int = 0, most: int = 2**31 - 1) -> int:
    """Check an integer and its range. Raises InvalidInputError."""
    number = _whole(value)
    if number is None or not least <= number <= most:
        raise InvalidInputError(
            field, f"got {quoted(value)}; must be a whole number from {least} to {most}"
        )
    return number


def checked_timeout(value: Any, field: str = "timeout_s") -> float:
    """Check a time in seconds; inf is no limit. Raises InvalidInputError."""
    seconds = _number(value)
    if not isinstance(seconds, float) or not seconds > 0:
        raise InvalidInputError(
            field, f"got {quoted(value)}; must be seconds above 0, math.inf for no limit"
        )
    return seconds


def checked_positive(value: Any, field: str) -> float:
    """Check a finite number above 0. Raises InvalidInputError."""
    number = _number(value)
    if not isinstance(number, float) or not 0 < number < math.inf:
        raise InvalidInputError(field, f"got {quoted(value)}; must be a number above 0")
    return number


def checked_images(images: Iterable[T]) -> Iterable[T]:
    """Check an iterable of images; a single image is refused, although it can be iterated.

    Raises:
        InvalidInputError: it is one image, or nothing that can be gone through.
    """
    if isinstance(images, str | bytes | bytearray | Path | Image.Image):
        got = f"one {type(images).__name__}"
    elif isinstance(images, np.ndarray | TensorLike):
        shape = tuple(getattr(images, "shape", ()))
        several = len(shape) == 4 or (
            len(shape) == 3 and isinstance(images, np.ndarray) and shape[2] not in (1, 3, 4)
        )
        got = "" if several else f"one array of shape {list(shape)}"
    else:
        got = "" if isinstance(images, Iterable) else quoted(images)
    if got:
        raise InvalidInputError(
            "images", f"got {got}; must be an iterable of images, or a batch; `send` takes one"
        )
    return images


def checked_codeword(codeword: Any, field: str = "codeword") -> Codeword:
    """Check a codeword's parts. Raises InvalidInputError."""
    checked_kind(codeword, Codeword, field)
    symbols = codeword.symbols
    if not isinstance(symbols, np.ndarray) or symbols.ndim != 1 or symbols.dtype.kind not in "cf":
        raise InvalidInputError(
            f"{field}.symbols", "must be a NumPy array of complex numbers with one dimension, [k]"
        )
    checked_kind(codeword.pair_id, str, f"{field}.pair_id")
    checked_kind(codeword.bandwidth_ratio, Rational, f"{field}.bandwidth_ratio")
    size = codeword.image_size
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise InvalidInputError(
            f"{field}.image_size", f"got {quoted(size)}; must be height and width"
        )
    for pixels in size:
        checked_count(pixels, f"{field}.image_size", least=1)
    if codeword.snr_db is not None:
        checked_snr_db(_number(codeword.snr_db), field=f"{field}.snr_db")
    return codeword  # type: ignore[no-any-return]


def checked_received(received: Any) -> Transmission | Codeword:
    """Check the input of a receiver. Raises InvalidInputError."""
    checked_kind(received, (Transmission, Codeword), "received")
    if isinstance(received, Codeword):
        return checked_codeword(received, "received")
    checked_codeword(received.received, "received")
    if received.gains is not None:
        checked_kind(received.gains, np.ndarray, "received.gains")
        checked_count(received.block_length, "received.block_length", most=_MOST_SYMBOLS)
    return received  # type: ignore[no-any-return]


def _number(value: Any) -> Any:
    """Convert a number to float; return other values unchanged for the check that follows."""
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, str | bytes | bytearray | bool) or getattr(value, "ndim", False):
        return value
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return value


def _plain_number(value: Any, field: str) -> float:
    number = _number(value)
    if not isinstance(number, float):
        raise InvalidInputError(field, f"got {quoted(value)}; must be a number")
    return number


def _told(value: Any) -> float | None:
    return None if value is None else checked_snr_db(_number(value), field="told_snr_db")


def _whole(value: Any) -> int | None:
    if isinstance(value, bool | np.bool_):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _seed(value: Any) -> int | None:
    if value is None:
        return None
    number = _whole(value)
    if number is None:
        raise InvalidInputError("seed", f"got {quoted(value)}; must be a whole number or None")
    return checked_seed(number)


def _text(value: Any, field: str) -> str | None:
    return None if value is None else checked_kind(value, str, field)


def _snr(value: Any) -> Any:
    if not isinstance(value, str) or value not in ("known", "estimated"):
        raise InvalidInputError(
            "snr", f"got {quoted(value)}; must be known or estimated; the SNR itself is snr_db"
        )
    return value


def _scheme(value: Any) -> Any:
    return None if value is None else _one_of(value, tuple(SCHEMES), "scheme")


def _one_of(value: Any, known: tuple[str, ...], field: str) -> Any:
    if not isinstance(value, str) or value not in known:
        raise InvalidInputError(field, f"got {quoted(value)}; must be one of {', '.join(known)}")
    return value


def _rate(value: Any) -> str | None:
    """Convert a rate to the protocol's form; a float is read as the fraction that it stands for."""
    if value is None:
        return None
    if isinstance(value, str):
        parse_ratio(value, field="rate")
        return value
    number = _number(value)
    if not isinstance(number, float) or not 1 / _LARGEST_DENOMINATOR <= number <= 1:
        raise InvalidInputError(
            "rate",
            f"got {quoted(value)}; must be a fraction above 0 and at most 1, such as '1/48', "
            "Fraction(1, 48) or 1/48",
        )
    exact = Fraction(value) if isinstance(value, Rational) else Fraction(number)
    return format_ratio(exact.limit_denominator(_LARGEST_DENOMINATOR))
