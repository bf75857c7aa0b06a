# SPDX-License-Identifier: Apache-2.0
"""Conversion of callers' arrays and tensors to 8-bit RGB. Needs no torch."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from genjscc.errors import InvalidInputError
from genjscc.wire.images import rgb_from_pil

_CHANNELS = (1, 3, 4)


@runtime_checkable
class TensorLike(Protocol):
    """Methods of a PyTorch tensor that are used here."""

    def detach(self) -> Any:
        """Return the tensor without gradients."""

    def cpu(self) -> Any:
        """Return the tensor in the memory of the CPU."""

    def is_floating_point(self) -> bool:
        """Return whether the tensor has floating-point numbers."""


def rgb_from_array(array: NDArray[Any], field: str = "image") -> NDArray[np.uint8]:
    """Convert an array with the channels last, as in NumPy, to uint8 [H, W, 3].

    Args:
        array: [H, W], or [H, W, C] with C = 1 (grey), 3 (RGB) or 4 (RGBA, laid on white);
            uint8, or floats in [0, 1], which are rounded to the nearest of 256 values.
        field: its name, for the error.

    Raises:
        InvalidInputError: another shape or type, or a float outside [0, 1].
    """
    channels = array.shape[2:] or (1,)
    if array.ndim not in (2, 3) or channels[0] not in _CHANNELS or array.size == 0:
        raise InvalidInputError(
            field,
            f"got {array.dtype} {list(array.shape)}; an array must be [H, W] or [H, W, C] with "
            "1, 3 or 4 channels",
        )
    pixels = _eight_bit(array, field).reshape(*array.shape[:2], channels[0])
    if channels[0] == 1:
        return np.repeat(pixels, 3, axis=2)
    if channels[0] == 4:
        return rgb_from_pil(Image.fromarray(pixels))
    return pixels


def rgb_from_tensor(tensor: TensorLike, field: str = "image") -> NDArray[np.uint8]:
    """Convert a tensor with the channels first, as in PyTorch, to uint8 [H, W, 3].

    Args:
        tensor: [3, H, W] or [1, H, W] on any device; uint8, or floats in [0, 1].
        field: its name, for the error.

    Raises:
        InvalidInputError: another shape or type, or a float outside [0, 1].
    """
    held = tensor.detach().cpu()
    array = np.asarray(held.float() if held.is_floating_point() else held)
    if array.ndim != 3 or array.shape[0] not in (1, 3):
        raise InvalidInputError(
            field,
            f"got {array.dtype} {list(array.shape)}; a tensor must be [3, H, W] or [1, H, W]; "
            "send_many takes batches",
        )
    return rgb_from_array(array.transpose(1, 2, 0), field)


def _eight_bit(array: NDArray[Any], field: str) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f":
        raise InvalidInputError(
            field, f"got numbers of type {array.dtype}; must be uint8, or floats in [0, 1]"
        )
    if not (array >= 0).all() or not (array <= 1).all():  # also refuses NaN
        raise InvalidInputError(
            field, f"got floats from {array.min():g} to {array.max():g}; must be in [0, 1]"
        )
    return np.rint(array.astype(np.float64) * 255).astype(np.uint8)
