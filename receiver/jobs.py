# SPDX-License-Identifier: Apache-2.0
"""What the receiver computes: a checked request, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from genjscc.v1 import inversion_pb2, model_pb2, tensor_pb2
from receiver.inverse_config import InverseConfig


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
    """An image [3, H', W'] in [0, 1], padded, and the time of the batches that made it."""

    image: Tensor
    seconds: float
    summary: inversion_pb2.InversionSummary | None = None
    """of the scheme inverse"""
