# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of the benchmarks: spreads, ratios, exponents, throughput at equal p99."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_FLAT = 1e-20
"""Of logarithms: what varies less is rounding."""


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, extremes and number of rounds."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "rounds": len(values),
    }


def ratio_spread(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """Return the spread of the ratios of single rounds, since disturbances hit both values of a
    round.
    """
    return spread([a / b for a, b in zip(above, below, strict=True)])


@dataclass(frozen=True)
class PowerLaw:
    """The law y = factor * x ** exponent; `r2` belongs to the line through the logarithms."""

    exponent: float
    factor: float
    r2: float


def power_law(x: Sequence[float], y: Sequence[float]) -> PowerLaw:
    """Fit log y to log x by least squares.

    Raises:
        ValueError: fewer than two different x, or a value that is not positive.
    """
    if len(x) != len(y) or len(set(x)) < 2 or min(*x, *y) <= 0:
        raise ValueError(f"x: got {list(x)} and {list(y)}; two different, all positive, are needed")
    u, v = [math.log(one) for one in x], [math.log(one) for one in y]
    exponent, offset = statistics.linear_regression(u, v)
    mean = statistics.fmean(v)
    total = sum((b - mean) ** 2 for b in v)
    left = sum((b - offset - exponent * a) ** 2 for a, b in zip(u, v, strict=True))
    return PowerLaw(exponent, math.exp(offset), 1 - left / total if total > _FLAT else 1.0)


def growth(x: Sequence[float], rounds: Sequence[Sequence[float]]) -> dict[str, object]:
    """Return medians of y over x, and the exponent with its spread over the rounds.

    Args:
        x: what grows.
        rounds: for each round one y for each x.

    Returns:
        x, y (medians), exponent (spread), last_exponent (of the two largest x, where constant
        parts weigh least) and r2 of the fit to the medians.
    """
    medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
    return {
        "x": list(x),
        "y": medians,
        "exponent": spread([power_law(x, y).exponent for y in rounds]),
        "last_exponent": spread([power_law(x[-2:], y[-2:]).exponent for y in rounds]),
        "r2": power_law(x, medians).r2,
    }


@dataclass(frozen=True)
class Point:
    """A closed loop: answers per second, and their latency at the 99th percentile."""

    per_second: float
    p99_ms: float


def throughput_at(points: Sequence[Point], p99_ms: float) -> float | None:
    """Return the highest throughput within a p99, interpolated between two measured points.

    A point that is slower and has fewer answers than another is left out: nobody would run the
    service there.

    Returns:
        None where even the quickest point is slower.
    """
    front: list[Point] = []
    for point in sorted(points, key=lambda one: (one.p99_ms, -one.per_second)):
        if not front or point.per_second > front[-1].per_second:
            front.append(point)
    if not front or front[0].p99_ms > p99_ms:
        return None
    within = [point for point in front if point.p99_ms <= p99_ms]
    last = within[-1]
    if len(within) == len(front):
        return last.per_second
    beyond = front[len(within)]
    part = (p99_ms - last.p99_ms) / (beyond.p99_ms - last.p99_ms)
    return last.per_second + part * (beyond.per_second - last.per_second)


def throughput_ratio(ours: Sequence[Point], theirs: Sequence[Point]) -> float:
    """Return our throughput over theirs, at the p99 that they have at their highest throughput.

    Returns:
        0 where we cannot answer within that p99 at all.
    """
    best = max(theirs, key=lambda one: one.per_second)
    return (throughput_at(ours, best.p99_ms) or 0.0) / best.per_second
