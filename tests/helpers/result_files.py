# SPDX-License-Identifier: Apache-2.0
"""Synthetic results for tests of the report."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from genjscc.evaluation.receiver_time import TimedFile, TimedRecord
from genjscc.evaluation.records import Record, ResultFile, write_results
from genjscc.evaluation.separation.records import SeparationFile, SeparationRecord
from genjscc.quality.statistics import Mean

SNRS = (-5.0, 0.0, 5.0)
RATIOS = ("1/768", "1/192")


def mean(value: float, half: float = 0.01, n: int = 1000) -> Mean:
    """Return a mean with its interval."""
    return Mean(mean=value, ci95=half, n=n)


def fields(psnr: float, **changes: Any) -> dict[str, Any]:
    """Return the fields of a record, with its other metrics derived from its PSNR."""
    own: dict[str, Any] = {
        "bundle": None,
        "pair_id": None,
        "dataset": "faces",
        "split": "test",
        "n": 1000,
        "image_size": "64x64",
        "bandwidth_ratio": "1/768",
        "snr_db": 0.0,
        "seed": 7,
        "psnr_db": mean(psnr),
        "ms_ssim": mean(psnr / 40),
        "ms_ssim_scales": 3,
        "st_lpips_vgg": mean(1 - psnr / 40),
        **changes,
    }
    return {"k": int(Fraction(own["bandwidth_ratio"]) * 12288), **own}


def learned(scheme: str, bundle: str | None, psnr: float, **changes: Any) -> list[Record]:
    """Return one record of a learned scheme for each ratio and SNR."""
    return [
        Record(
            scheme=scheme,
            **fields(
                psnr + snr / 5 + i,
                **{"bundle": bundle, "pair_id": "p1", "bandwidth_ratio": ratio, "snr_db": snr}
                | changes,
            ),
        )
        for i, ratio in enumerate(RATIOS)
        for snr in SNRS
    ]


def linear(psnr: float) -> list[Record]:
    """Return the records of the linear baseline."""
    return learned("linear", None, psnr, pair_id=None)


def separated(codec: str, psnr: float, outage: float, **changes: Any) -> list[SeparationRecord]:
    """Return the records of a codec at every point, with one outage rate."""
    own = {"headers": True, "channel_code": "capacity", **changes}
    return [
        SeparationRecord(
            codec=codec,
            outage=mean(outage, 0.0),
            undecoded=mean(0.0, 0.0),
            budget_bytes=9.0,
            **own,
            **fields(psnr + snr / 5, bandwidth_ratio=ratio, snr_db=snr),
        )
        for ratio in RATIOS
        for snr in SNRS
    ]


def timed(scheme: str, seconds: float, **changes: Any) -> TimedRecord:
    """Return a timed record."""
    return TimedRecord(
        scheme=scheme,
        **fields(18.0, bundle="faces", pair_id="p1", n=16, **changes),
        receiver_seconds=mean(seconds, seconds / 10, 16),
        threads=1,
        processor="Abacus 3",
    )


def write(path: Path, records: list[Any], command: str = "") -> Path:
    """Write a result file of the class that matches its records."""
    kinds = {SeparationRecord: SeparationFile, TimedRecord: TimedFile}
    kind = kinds.get(type(records[0]), ResultFile) if records else ResultFile
    results = kind(
        command=command or f"genjscc made {path.name}",
        version="9.9",
        commit="c0ffee",
        notes=f"notes of {path.name}",
        records=records,
    )
    write_results(path, results)
    return path
