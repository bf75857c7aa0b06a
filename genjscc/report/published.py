# SPDX-License-Identifier: Apache-2.0
"""Published results of other systems: CSV files below results/published/, one a data set."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from genjscc.errors import InvalidInputError
from genjscc.wire.ratios import parse_ratio

FOLDER = "published"


@dataclass(frozen=True)
class PublishedPoint:
    """One figure that somebody else published."""

    scheme: str
    channel: str
    ratio: Fraction
    snr_db: float
    psnr_db: float
    kind: str
    """how it was read: digitised from a plot, or tested by a user of the code"""
    source: str


def read_published(results: Path) -> dict[str, list[PublishedPoint]]:
    """Read all published points, by data set (the name of the file).

    Raises:
        InvalidInputError: a file is not of this form.
    """
    return {path.stem: _read(path) for path in sorted((results / FOLDER).glob("*.csv"))}


def _read(path: Path) -> list[PublishedPoint]:
    points = []
    with path.open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            try:
                point = PublishedPoint(
                    scheme=row["scheme"],
                    channel=row["channel"],
                    ratio=parse_ratio(row["cbr"]),
                    snr_db=float(row["snr_db"]),
                    psnr_db=float(row["psnr_db"]),
                    kind=row["kind"],
                    source=row["source"],
                )
            except (KeyError, TypeError, ValueError, InvalidInputError) as error:
                raise InvalidInputError("published", f"{path}, line {number}: {error}") from error
            points.append(point)
    return points
