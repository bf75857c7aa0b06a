# SPDX-License-Identifier: Apache-2.0
"""Paired comparison of schemes on the same images with the same noise.

Images differ from each other far more than schemes differ on one image, so the interval of the
mean difference is far narrower than the intervals of the two means suggest.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from genjscc.evaluation.records import Difference, Record
from genjscc.evaluation.sweep import Measured
from genjscc.quality.statistics import paired_difference

Outcome = tuple[Record, Measured]


def differences_from(outcomes: Sequence[Outcome], *, bundle: str, scheme: str) -> list[Difference]:
    """Compute the differences of every other series of a sweep from one bundle and scheme.

    Args:
        outcomes: measurements of one sweep: the same images in the same order, the same seed.
        bundle: the reference model.
        scheme: the decoding scheme of the reference.

    Returns:
        One entry per cell (ratio, SNR, assumed SNR) that both sides have.
    """
    baseline = {
        _cell(record): (record, measured)
        for record, measured in outcomes
        if (record.bundle, record.scheme) == (bundle, scheme)
    }
    found = []
    for record, measured in outcomes:
        if (record.bundle, record.scheme) == (bundle, scheme) or _cell(record) not in baseline:
            continue
        against, reference = baseline[_cell(record)]
        means = {
            name: paired_difference(values, reference.values[name])
            for name, values in measured.values.items()
            if not name.startswith("grid_")  # a share of an error, not a distance
        }
        found.append(
            Difference(
                scheme=record.scheme,
                bundle=record.bundle,
                pair_id=record.pair_id,
                against_scheme=against.scheme,
                against_bundle=against.bundle,
                against_pair_id=against.pair_id,
                bandwidth_ratio=record.bandwidth_ratio,
                snr_db=record.snr_db,
                told_snr_db=record.told_snr_db,
                seed=record.seed,
                means=means,
            )
        )
    return found


def _cell(record: Record) -> tuple[Fraction, float, float | None]:
    return Fraction(record.bandwidth_ratio), record.snr_db, record.told_snr_db
