# SPDX-License-Identifier: Apache-2.0
"""Means over images with confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

_NORMAL_95 = 1.959964


class Mean(BaseModel):
    """A mean over images and the half-width of its 95 % confidence interval.

    The interval uses the normal approximation, over the images and (one draw for each) their
    noise; it does not cover the variation between training runs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: float
    ci95: float
    n: int


def mean_of(values: Sequence[float]) -> Mean:
    """Compute mean and interval of one value per image.

    Raises:
        ValueError: there are fewer than two values, or one is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        raise ValueError(f"values: got {len(array)}; must be at least two for an interval")
    if not np.isfinite(array).all():
        raise ValueError("values: all must be finite")
    half = _NORMAL_95 * float(array.std(ddof=1)) / math.sqrt(len(array))
    return Mean(mean=float(array.mean()), ci95=half, n=len(array))


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Mean:
    """Compute the mean of first - second over the same images, with its interval."""
    return mean_of([a - b for a, b in zip(first, second, strict=True)])
