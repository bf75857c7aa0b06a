# SPDX-License-Identifier: Apache-2.0
"""Request mix of a load test: weighted sizes, bandwidth ratios and schemes, and SNRs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from genjscc.client.keywords import SendKeywords
from genjscc.client.options import SchemeName
from genjscc.errors import InvalidInputError
from genjscc.wire.ratios import parse_ratio

T = TypeVar("T")
_PICTURES_PER_SIZE = 8


@dataclass(frozen=True)
class Weighted(Generic[T]):
    """Values with their relative frequencies."""

    values: tuple[T, ...]
    weights: tuple[float, ...]

    def draw(self, rng: random.Random) -> T:
        """Draw one of the values."""
        return rng.choices(self.values, self.weights)[0]


UNSPECIFIED: Weighted[str] = Weighted(("",), (1.0,))
"""the services' default"""


def parse_weighted(texts: Sequence[str], field_name: str) -> Weighted[str]:
    """Parse "VALUE" or "VALUE:WEIGHT" texts.

    Raises:
        InvalidInputError: a weight is not a positive number.
    """
    values, weights = [], []
    for text in texts:
        value, colon, weight = text.rpartition(":")
        try:
            weights.append(float(weight) if colon else 1.0)
        except ValueError:
            weights.append(float("nan"))
        values.append(value if colon else text)
        if not values[-1] or not 0 < weights[-1] < float("inf"):
            raise InvalidInputError(
                field_name, f"got {text!r}; must be VALUE or VALUE:WEIGHT with a weight above 0"
            )
    return Weighted(tuple(values), tuple(weights))


def parse_size(text: str) -> tuple[int, int]:
    """Parse "64" or "48x64" (width x height) to (height, width).

    Raises:
        InvalidInputError: the text has neither form.
    """
    width, x, height = text.partition("x")
    try:
        size = (int(height), int(width)) if x else (int(width), int(width))
    except ValueError:
        size = (0, 0)
    if min(size) < 1:
        raise InvalidInputError("size", f"got {text!r}; must be SIDE or WIDTHxHEIGHT in pixels")
    return size


def picture(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """Draw noisy smooth colours, as compressible as a photograph. uint8 [H, W, 3]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = rng.uniform(1, 4, (3, 2, 1, 1)) / max(height, width)
    phases = 2 * np.pi * (waves[:, 0] * rows + waves[:, 1] * columns + rng.random((3, 1, 1)))
    values = 128 + 90 * np.sin(phases) + rng.normal(0, 8, (3, height, width))
    return np.ascontiguousarray(values.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


@dataclass(frozen=True)
class Shot:
    """One image to send, with its options."""

    image: Any
    size: str
    keywords: SendKeywords


@dataclass
class Mix:
    """Random requests, reproducible for the same seed.

    Args:
        sizes: image sizes, in the form of `parse_size`.
        rates: bandwidth ratios; "" stands for the model's highest.
        schemes: names of schemes; "" stands for the model's own.
        snrs_db: SNRs in dB.
        model: model name; None: the transmitter's default.
        seed: seed of the draws and of the synthetic images.
        files: image files to send instead of synthetic images.
    """

    sizes: Weighted[str]
    rates: Weighted[str]
    schemes: Weighted[str]
    snrs_db: Sequence[float]
    model: str | None = None
    seed: int = 0
    files: Sequence[bytes] = ()
    _rng: random.Random = field(init=False, repr=False)
    _pictures: dict[str, list[NDArray[np.uint8]]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for rate in self.rates.values:
            if rate:
                parse_ratio(rate, field="rate")
        self._rng = random.Random(self.seed)  # noqa: S311
        self._pictures = {
            size: [picture(*parse_size(size), self.seed + i) for i in range(_PICTURES_PER_SIZE)]
            for size in self.sizes.values
        }

    def draw(self) -> Shot:
        """Draw the next image."""
        keywords = SendKeywords(
            rate=self.rates.draw(self._rng) or None,
            # Validated when the request is built.
            scheme=cast("SchemeName | None", self.schemes.draw(self._rng) or None),
            snr_db=self._rng.choice(self.snrs_db),
            model=self.model,
        )
        if self.files:
            return Shot(self._rng.choice(self.files), "file", keywords)
        size = self.sizes.draw(self._rng)
        return Shot(self._rng.choice(self._pictures[size]), size, keywords)
