# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from genjscc.errors import InvalidInputError
from genjscc.report.book import Book
from genjscc.report.published import read_published
from genjscc.report.sections.published import published
from genjscc.report.selection import split_entries
from genjscc.report.sources import read_folder
from genjscc.repository import REPOSITORY
from tests.helpers.result_files import learned, write

HEAD = "scheme,channel,cbr,snr_db,psnr_db,ms_ssim,kind,source\n"
ROWS = (
    "Other,awgn,1/48,0,25.5,,digitised,a plot\n"
    "Other,awgn,1/48,5,27.5,,digitised,a plot\n"
    "Other,rayleigh,1/48,0,19.5,,digitised,a plot\n"
)


def results(tmp_path: Path, rows: str, dataset: str = "faces") -> Path:
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / f"{dataset}.csv").write_text(HEAD + rows)
    write(tmp_path / "deep.json", learned("deepjscc", "faces", 18.0))
    return tmp_path


def page(folder: Path) -> str:
    book = Book(folder / "page")
    published(book, split_entries(read_folder(folder), ["faces"]), read_published(folder))
    return book.markdown


def test_published_points_join_the_plots_of_their_data_set(tmp_path: Path) -> None:
    entry = read_folder(results(tmp_path, "")).entries[0]
    rows = ROWS.replace("1/48", entry.record.bandwidth_ratio)
    (tmp_path / "published" / f"{entry.record.dataset}.csv").write_text(HEAD + rows)
    text = page(tmp_path)
    assert "<td>Other</td><td>digitised</td><td>a plot</td>" in text
    (figure,) = (tmp_path / "page" / "figures").glob("*.svg")
    drawn = figure.read_text()
    assert "Other (published)" in drawn
    assert "DeepJSCC (faces)" in drawn


def test_squares_cut_from_the_images_are_not_compared(tmp_path: Path) -> None:
    folder = results(tmp_path, ROWS)
    whole, cut = (json.loads((folder / "deep.json").read_text()) for _ in range(2))
    for record in whole["records"]:
        record["image_size"] = "mixed"
    (folder / "deep.json").write_text(json.dumps(whole))
    (folder / "cut.json").write_text(json.dumps(cut))
    page(folder)
    (figure,) = (folder / "page" / "figures").glob("*.svg")
    assert "mixed" in figure.name


def test_other_data_sets_have_no_such_section(tmp_path: Path) -> None:
    assert page(results(tmp_path, ROWS, "elsewhere")).strip() == ""


@pytest.mark.parametrize(
    "row", ["Other,awgn,0.x,0,25,,d,s\n", "Other,awgn,1/48,zero,25,,d,s\n", "Other\n"]
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, row: str) -> None:
    with pytest.raises(InvalidInputError, match=r"faces\.csv, line 3"):
        read_published(results(tmp_path, ROWS.splitlines(keepends=True)[0] + row))


def test_the_committed_points_are_read() -> None:
    (kodak,) = read_published(REPOSITORY / "results").values()
    swin = [p for p in kodak if p.scheme.startswith("SwinJSCC") and p.ratio == Fraction(1, 48)]
    assert {p.snr_db for p in swin} >= {1, 4, 10}
    assert all(20 < p.psnr_db < 40 for p in kodak)
