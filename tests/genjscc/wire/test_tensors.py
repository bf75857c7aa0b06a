# SPDX-License-Identifier: Apache-2.0
"""cf32_le: round trips, and every lie a tensor can tell."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from genjscc.errors import InvalidInputError
from genjscc.v1 import tensor_pb2
from genjscc.wire.tensors import complex_from_message, complex_to_message

finite = st.complex_numbers(max_magnitude=1e38, allow_nan=False, width=64)
arrays = hnp.arrays(np.complex64, hnp.array_shapes(max_dims=4, max_side=6), elements=finite)


def read(message: tensor_pb2.ComplexTensor, max_size: int = 10_000) -> NDArray[np.complex64]:
    return complex_from_message(message, field="x", max_size=max_size)


@given(arrays)
def test_round_trip(values: NDArray[np.complex64]) -> None:
    over_the_wire = complex_to_message(values).SerializeToString()
    back = read(tensor_pb2.ComplexTensor.FromString(over_the_wire))
    assert back.dtype == np.complex64
    np.testing.assert_array_equal(back, values)


@given(arrays)
def test_views_are_written_in_their_own_order(values: NDArray[np.complex64]) -> None:
    np.testing.assert_array_equal(read(complex_to_message(values.T)), values.T)


def test_bytes_are_interleaved_little_endian_floats() -> None:
    message = complex_to_message(np.array([1 - 2j], np.complex64))
    assert message.dtype == "cf32_le"
    assert list(message.shape) == [1]
    assert message.data == bytes.fromhex("0000803f000000c0")


def tensor(**changes: Any) -> tensor_pb2.ComplexTensor:
    fields: dict[str, Any] = {"dtype": "cf32_le", "shape": [2], "data": bytes(16)}
    return tensor_pb2.ComplexTensor(**(fields | changes))


def test_the_unchanged_tensor_is_good() -> None:
    assert read(tensor()).shape == (2,)


@pytest.mark.parametrize(
    ("message", "field", "problem"),
    [
        (tensor(dtype="cf64_le"), "x.dtype", "'cf64_le'"),
        (tensor(dtype=""), "x.dtype", "''"),
        (tensor(shape=[]), "x.shape", "[]"),
        (tensor(shape=[0], data=b""), "x.shape", "[0]"),
        (tensor(shape=[3, 0], data=b""), "x.shape", "[3, 0]"),
        (tensor(shape=[10_001]), "x.shape", "10001 numbers; at most 10000"),
        (tensor(shape=[2**32 - 1] * 4), "x.shape", "at most 10000"),
        (tensor(shape=[1] * 100, data=bytes(8)), "x.shape", "100 dimensions"),
        (tensor(data=bytes(15)), "x.data", "15 bytes"),
        (tensor(data=bytes(24)), "x.data", "24 bytes; shape [2] needs 16"),
        (tensor(data=b""), "x.data", "0 bytes"),
    ],
)
def test_wrong_tensors_are_refused_by_field_and_value(
    message: tensor_pb2.ComplexTensor, field: str, problem: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read(message)
    assert caught.value.field == field
    assert problem in str(caught.value)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("imaginary", [False, True])
def test_values_that_are_not_finite_are_refused_by_position(bad: float, imaginary: bool) -> None:
    values = np.zeros(5, np.complex64)
    (values.imag if imaginary else values.real)[3] = bad
    with pytest.raises(InvalidInputError, match=r"x.data: number 3 is .*(nan|inf)"):
        read(complex_to_message(values))


@given(st.binary(max_size=64))
def test_garbage_is_refused_or_is_finite(data: bytes) -> None:
    message = tensor(shape=[len(data) // 8], data=data)
    with contextlib.suppress(InvalidInputError):
        assert np.isfinite(read(message)).all()
