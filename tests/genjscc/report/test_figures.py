# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from genjscc.errors import InvalidInputError
from genjscc.evaluation.records import Record
from genjscc.quality.statistics import Mean
from genjscc.report.figures import describe, plot_against_snr


def record(scheme: str, ratio: str, snr_db: float, psnr: float) -> Record:
    return Record.model_validate(
        {
            "scheme": scheme,
            "bundle": None if scheme == "linear" else "mine",
            "pair_id": None,
            "dataset": "faces",
            "split": "test",
            "n": 10,
            "image_size": "64x64",
            "bandwidth_ratio": ratio,
            "k": 16,
            "snr_db": snr_db,
            "seed": 0,
            "psnr_db": Mean(mean=psnr, ci95=0.5, n=10),
            "ms_ssim": Mean(mean=psnr / 40, ci95=0.01, n=10),
            "ms_ssim_scales": 3,
        }
    )


RECORDS = [
    record(scheme, ratio, snr, 20 + snr)
    for scheme in ("deepjscc", "linear")
    for ratio in ("1/48", "1/768")
    for snr in (5.0, -5.0)
]


def test_there_is_a_panel_for_each_metric_that_was_measured_and_a_line_for_each_setting() -> None:
    figure = plot_against_snr(RECORDS, "title")
    assert [axis.get_title() for axis in figure.axes] == ["PSNR / dB", "MS-SSIM"]
    (containers, _) = (axis.containers for axis in figure.axes)
    labels = [container.get_label() for container in containers]
    assert labels == [
        "deepjscc (mine), 1/768",
        "deepjscc (mine), 1/48",
        "linear, 1/768",
        "linear, 1/48",
    ]
    x, y = containers[0].lines[0].get_data()
    assert list(x) == [-5.0, 5.0]
    assert list(y) == [15.0, 25.0]


def test_a_plot_says_what_it_was_measured_on() -> None:
    text = describe(RECORDS)
    for part in ("faces test", "n = 10", "64x64", "AWGN", "seed 0", "3 scales"):
        assert part in text


def test_nothing_cannot_be_plotted() -> None:
    with pytest.raises(InvalidInputError, match="none"):
        plot_against_snr([], "title")
