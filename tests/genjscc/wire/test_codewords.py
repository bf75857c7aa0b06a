# SPDX-License-Identifier: Apache-2.0
"""Codewords and gains: round trips and foreign headers."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genjscc.errors import InvalidInputError
from genjscc.limits import MAX_SNR_DB, MIN_SNR_DB, Limits
from genjscc.v1 import channel_pb2, codeword_pb2
from genjscc.wire.codewords import (
    Codeword,
    codeword_from_message,
    codeword_to_message,
    gains_from_message,
    symbols_from_message,
)
from genjscc.wire.tensors import complex_to_message

LIMITS = Limits(max_pixels=10_000, max_symbols=500)

codewords = st.builds(
    Codeword,
    st.integers(1, 50).map(lambda k: np.arange(1, k + 1) * np.complex64(1 - 0.5j)),
    st.text(min_size=1, max_size=128),
    st.builds(Fraction, st.integers(1, 999), st.integers(999, 10**6)),
    st.tuples(st.integers(1, 100), st.integers(1, 100)),
    st.none() | st.floats(MIN_SNR_DB, MAX_SNR_DB),
)


@given(codewords)
def test_round_trip(codeword: Codeword) -> None:
    data = codeword_to_message(codeword).SerializeToString()
    back = codeword_from_message(codeword_pb2.Codeword.FromString(data), limits=LIMITS)
    np.testing.assert_array_equal(back.symbols, codeword.symbols)
    assert back.k == codeword.k == len(codeword.symbols)
    assert back.power == codeword.power
    for name in ("pair_id", "bandwidth_ratio", "image_size", "snr_db"):
        assert getattr(back, name) == getattr(codeword, name)


def test_power_is_the_mean_square() -> None:
    symbols = np.array([3 + 4j, 0], np.complex64)
    assert Codeword(symbols, "p", Fraction(1, 48), (1, 1)).power == pytest.approx(12.5)


def message() -> codeword_pb2.Codeword:
    symbols = np.ones(64, np.complex64)
    return codeword_to_message(Codeword(symbols, "pair", Fraction(1, 192), (64, 64), 0.0))


def change_header(name: str, value: Any) -> Callable[[codeword_pb2.Codeword], None]:
    return lambda codeword: setattr(codeword.header, name, value)


def change_symbols(symbols: Any) -> Callable[[codeword_pb2.Codeword], None]:
    return lambda codeword: codeword.symbols.CopyFrom(complex_to_message(symbols))


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        (change_header("num_symbols", 63), "c.header.num_symbols", "got 63; there are 64"),
        (change_header("pair_id", ""), "c.header.pair_id", "got 0 characters"),
        (change_header("pair_id", "x" * 129), "c.header.pair_id", "got 129 characters"),
        (change_header("image_height", 0), "c.header.image_height", "64x0"),
        (change_header("image_width", 0), "c.header.image_height", "0x64"),
        (change_header("image_width", 2**32 - 1), "c.header.image_height", "at|to 10000"),
        (change_header("snr_db", float("nan")), "c.header.snr_db", "nan"),
        (change_header("snr_db", 1e9), "c.header.snr_db", "1000000000.0"),
        (change_header("bandwidth_ratio", "much"), "c.header.bandwidth_ratio", "'much'"),
        (change_header("bandwidth_ratio", ""), "c.header.bandwidth_ratio", "''"),
        (change_symbols(np.ones((8, 8))), "c.symbols.shape", r"\[8, 8\]"),
        (change_symbols(np.ones(501)), "c.symbols.shape", "501 numbers; at most 500"),
    ],
)
def test_wrong_codewords_are_refused_by_field_and_value(
    change: Callable[[codeword_pb2.Codeword], None], field: str, problem: str
) -> None:
    wrong = message()
    codeword_from_message(wrong, limits=LIMITS, field="c")
    change(wrong)
    with pytest.raises(InvalidInputError, match=problem) as caught:
        codeword_from_message(wrong, limits=LIMITS, field="c")
    assert caught.value.field == field


def test_empty_message_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"codeword.symbols.dtype"):
        codeword_from_message(codeword_pb2.Codeword(), limits=LIMITS)


def test_a_channel_reads_the_symbols_alone() -> None:
    bare = codeword_pb2.Codeword(symbols=complex_to_message(np.ones(3, np.complex64)))
    assert len(symbols_from_message(bare, limits=LIMITS)) == 3


def state(count: int, block_length: int) -> channel_pb2.ChannelState:
    gains = complex_to_message(np.ones(count, np.complex64))
    return channel_pb2.ChannelState(gains=gains, block_length=block_length)


@given(st.integers(1, 200), st.integers(1, 250))
def test_gains_must_cover_the_symbols_exactly(k: int, block_length: int) -> None:
    blocks = -(-k // block_length)
    gains, length = gains_from_message(state(blocks, block_length), k=k, limits=LIMITS)
    assert (len(gains), length) == (blocks, min(block_length, k))
    for wrong in (blocks + 1, blocks - 1):
        with pytest.raises(InvalidInputError, match=r"state.gains"):
            gains_from_message(state(wrong, block_length), k=k, limits=LIMITS)


def test_gains_need_a_block_length() -> None:
    with pytest.raises(InvalidInputError, match=r"state.block_length"):
        gains_from_message(state(1, 0), k=4, limits=LIMITS)
