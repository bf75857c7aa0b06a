# SPDX-License-Identifier: Apache-2.0
"""Tables of quality hold everything in a terminal of 80 columns."""

from __future__ import annotations

import io

from rich.console import Console

from genjscc.cli.quality_tables import tables_of, tables_of_differences
from genjscc.report.files import read_result_file
from genjscc.repository import REPOSITORY

RESULTS = read_result_file(REPOSITORY / "results" / "generative_faces64.json")


def shown(width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    for table in (*tables_of(RESULTS.records), *tables_of_differences(RESULTS.differences)):
        console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_nothing_is_cut_off_at_80_columns() -> None:
    text = shown(80)
    assert "…" not in text
    assert "…" in shown(40)
    for record in RESULTS.records:
        for mean, digits in ((record.psnr_db, 2), (record.ms_ssim, 3), (record.st_lpips_vgg, 3)):
            assert mean is not None
            assert f"{mean.mean:.{digits}f}±{mean.ci95:.{digits}f}" in text
    for difference in RESULTS.differences:
        assert f"{difference.means['st_lpips_alex'].mean:+.3f}±" in text


def test_one_table_for_each_scheme_and_model_in_the_order_of_ratio_and_snr() -> None:
    titles = [table.title for table in tables_of(list(reversed(RESULTS.records)))]
    assert titles == ["deepjscc, faces64", "generative, faces64-generative"]
    (first, *_) = tables_of(list(reversed(RESULTS.records)))
    ratios, snrs = ([*column.cells] for column in first.columns[:2])
    assert ratios == sorted(ratios, key=lambda ratio: -int(str(ratio).removeprefix("1/")))
    assert snrs[:3] == ["-5", "-4", "-3"]
