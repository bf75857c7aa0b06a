# SPDX-License-Identifier: Apache-2.0
"""Conversion between complex arrays and `ComplexTensor`: `cf32_le`, interleaved, little endian."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from genjscc.errors import InvalidInputError, quoted
from genjscc.v1 import tensor_pb2

DTYPE = "cf32_le"
_STORED = np.dtype("<c8")
_MAX_DIMENSIONS = 8


def write_complex(values: NDArray[np.complex64], message: tensor_pb2.ComplexTensor) -> None:
    """Fill an empty message in place, which is cheaper than copying a full one into its parent.

    Any shape; other complex types are rounded to complex64.
    """
    message.dtype = DTYPE
    message.shape.extend(values.shape)
    message.data = np.ascontiguousarray(values, dtype=_STORED).tobytes()


def complex_to_message(values: NDArray[np.complex64]) -> tensor_pb2.ComplexTensor:
    """Convert an array to a new message."""
    message = tensor_pb2.ComplexTensor()
    write_complex(values, message)
    return message


def complex_from_message(
    message: tensor_pb2.ComplexTensor, *, field: str, max_size: int
) -> NDArray[np.complex64]:
    """Read a message as an array, read-only and without a copy.

    Args:
        message: from anywhere.
        field: its name in the request, for the error.
        max_size: how many numbers are acceptable.

    Raises:
        InvalidInputError: wrong type, empty, too large, a length that does not fit the shape,
            or a value that is not finite.
    """
    if message.dtype != DTYPE:
        raise InvalidInputError(f"{field}.dtype", f"got {quoted(message.dtype)}; must be {DTYPE!r}")
    if len(message.shape) > _MAX_DIMENSIONS:
        raise InvalidInputError(
            f"{field}.shape",
            f"got {len(message.shape)} dimensions; at most {_MAX_DIMENSIONS} are accepted",
        )
    shape = tuple(message.shape)
    size = math.prod(shape)
    if not shape or size == 0:
        raise InvalidInputError(f"{field}.shape", f"got {list(shape)}; holds no number")
    if size > max_size:
        raise InvalidInputError(
            f"{field}.shape", f"got {list(shape)}, {size} numbers; at most {max_size} are accepted"
        )
    expected = size * _STORED.itemsize
    if len(message.data) != expected:
        raise InvalidInputError(
            f"{field}.data",
            f"got {len(message.data)} bytes; shape {list(shape)} needs {expected} (8 per number)",
        )
    values = np.frombuffer(message.data, dtype=_STORED).reshape(shape)
    if not np.isfinite(values.view("<f4")).all():
        first = int(np.flatnonzero(~np.isfinite(values.ravel()))[0])
        with np.errstate(invalid="ignore"):  # a signalling NaN would warn of itself
            number = str(values.flat[first])
        raise InvalidInputError(f"{field}.data", f"number {first} is {number}; all must be finite")
    return values.astype(np.complex64, copy=False)
