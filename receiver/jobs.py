# SPDX-License-Identifier: Apache-2.0
"""What the receiver computes: a checked request, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from genjscc.pixels import to_rgb
from genjscc.v1 import inversion_pb2, model_pb2, tensor_pb2
from receiver.inverse.config import InverseConfig


@dataclass(frozen=True)
class Plan:
    """How a received image is to be inverted."""

    config: InverseConfig
    generator: str
    channels: int
    seed: int


@dataclass(frozen=True, eq=False)
class DecodeJob:
    """A checked request: equalised symbols complex64 [k] and what to make of them."""

    model: str
    scheme: model_pb2.Scheme.ValueType
    snr_db: float
    size: tuple[int, int]
    symbols: NDArray[np.complex64]
    format: tensor_pb2.ImageFormat.ValueType
    plan: Plan | None = None
    """of the scheme inverse"""


@dataclass(frozen=True, eq=False)
class DecodeResult:
    """A padded image uint8 [H', W', 3] and the time of the batches that made it."""

    rgb: NDArray[np.uint8] | None
    """None: a value was not finite"""
    seconds: float
    summary: inversion_pb2.InversionSummary | None = None
    """of the scheme inverse"""


def pixels_of(images: Tensor) -> list[NDArray[np.uint8] | None]:
    """[B, 3, H', W'] in [0, 1] -> uint8 [H', W', 3] each; None where a value is not finite.

    All at once, and on the images' device: a quarter of the bytes leaves it.
    """
    finite = images.isfinite().flatten(1).all(1).tolist()
    return [rgb if good else None for rgb, good in zip(to_rgb(images), finite, strict=True)]
