# SPDX-License-Identifier: Apache-2.0
"""Jobs of the receiver: validated requests and their results."""

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
    """Settings for the inversion of a received image."""

    config: InverseConfig
    generator: str
    channels: int
    seed: int


@dataclass(frozen=True, eq=False)
class DecodeJob:
    """A validated request: equalised symbols complex64 [k] and decoding options."""

    model: str
    scheme: model_pb2.Scheme.ValueType
    snr_db: float
    size: tuple[int, int]
    symbols: NDArray[np.complex64]
    format: tensor_pb2.ImageFormat.ValueType
    plan: Plan | None = None
    """settings of the scheme inverse"""


@dataclass(frozen=True, eq=False)
class DecodeResult:
    """A padded image uint8 [H', W', 3] and the compute time of its batches."""

    rgb: NDArray[np.uint8] | None
    """decoded pixels; None if a value was not finite"""
    seconds: float
    summary: inversion_pb2.InversionSummary | None = None
    """summary of the scheme inverse"""


def pixels_of(images: Tensor) -> list[NDArray[np.uint8] | None]:
    """Convert [B, 3, H', W'] in [0, 1] to uint8 [H', W', 3] each; None if a value is not finite.

    Converted together on the images' device, so that only a quarter of the bytes is transferred.
    """
    finite = images.isfinite().flatten(1).all(1).tolist()
    return [rgb if good else None for rgb, good in zip(to_rgb(images), finite, strict=True)]
