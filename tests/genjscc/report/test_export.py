# SPDX-License-Identifier: Apache-2.0
"""Curves as CSV and MATLAB files."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

from genjscc.cli.commands.report import report
from genjscc.errors import InvalidInputError
from genjscc.report.export import all_curves
from genjscc.report.sources import read_folder
from genjscc.repository import REPOSITORY
from tests.helpers.result_files import SNRS, learned, separated, write

POINTS = (
    "scheme,channel,cbr,snr_db,psnr_db,ms_ssim,kind,source\n"
    "Other,awgn,1/192,5,27.5,,digitised,a plot\nOther,awgn,1/192,0,25.5,,digitised,a plot\n"
)


def folder(tmp_path: Path) -> Path:
    found = tmp_path / "results"
    (found / "published").mkdir(parents=True)
    (found / "published" / "faces.csv").write_text(POINTS)
    write(found / "deep.json", learned("deepjscc", "model", 18.0))
    write(found / "told.json", learned("deepjscc", "model", 16.0, told_snr_db=0.0))
    write(found / "jpeg.json", separated("jpeg", 17.0, 0.2))
    return found


def test_csv_has_every_point_once(tmp_path: Path) -> None:
    report(folder(tmp_path), csv=tmp_path / "curves.csv")
    rows = list(csv.DictReader((tmp_path / "curves.csv").read_text().splitlines()))
    # Three schemes over two ratios, three SNRs and three metrics, and two published points.
    assert len(rows) == 3 * 2 * len(SNRS) * 3 + 2
    (row,) = (
        one
        for one in rows
        if (one["model"], one["rho"], one["snr_db"]) == ("model", "1/768", "5")
        and (one["metric"], one["told_snr_db"]) == ("psnr_db", "")
    )
    assert (row["value"], row["ci95"], row["n"], row["k"]) == ("19.0", "0.01", "1000", "16")
    assert row["source"] == "deep.json: genjscc made deep.json"
    published = [one for one in rows if one["label"] == "Other, published"]
    assert [one["snr_db"] for one in published] == ["0", "5"]
    assert published[0]["source"] == "a plot (digitised)"


def test_matlab_reads_the_same_curves(tmp_path: Path) -> None:
    source = folder(tmp_path)
    report(source, mat=tmp_path / "curves.mat")
    read = loadmat(tmp_path / "curves.mat", simplify_cells=True)["curves"]
    curves = all_curves(read_folder(source), source)
    assert len(read) == len(curves) == 3 * 2 * 3 + 1
    for one, curve in zip(read, curves, strict=True):
        assert one["label"] == curve.label
        assert one["rho"] == float(curve.ratio)
        points = np.array(curve.points)
        for column, name in enumerate(("snr_db", "value", "ci95")):
            np.testing.assert_array_equal(one[name], points[:, column])


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    (tmp_path / "curves.csv").write_text("mine")
    with pytest.raises(InvalidInputError, match="exists already"):
        report(folder(tmp_path), csv=tmp_path / "curves.csv")
    assert (tmp_path / "curves.csv").read_text() == "mine"


def test_the_committed_results_have_curves_on_kodak() -> None:
    results = REPOSITORY / "results"
    curves = all_curves(read_folder(results), results)
    kodak = {curve.scheme for curve in curves if curve.dataset == "kodak"}
    assert {"deepjscc", "separation"} <= kodak
    assert all(np.diff([point[0] for point in curve.points]).min(initial=1) > 0 for curve in curves)
