# SPDX-License-Identifier: Apache-2.0
"""The whole page: Markdown, HTML and figures, from whatever results there are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from genjscc.errors import InvalidInputError
from genjscc.report import gaps, summary, tables
from genjscc.report.book import FIGURES, Book
from genjscc.report.page import to_html
from genjscc.report.published import read_published
from genjscc.report.sections.bandwidth import bandwidth
from genjscc.report.sections.fading import fading
from genjscc.report.sections.mismatch import mismatch
from genjscc.report.sections.paper import paper_figures
from genjscc.report.sections.published import published
from genjscc.report.sections.separation import separation
from genjscc.report.sections.time import receiver_time
from genjscc.report.selection import split_entries
from genjscc.report.sources import Sources, read_folder

_TITLE = "GenJSCC: results"


class Picture(BaseModel):
    """A sheet of pictures that the page shows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(description="relative to the list that names it")
    caption: str
    command: str


@dataclass(frozen=True)
class Report:
    """What was written."""

    html: Path
    markdown: Path
    num_files: int
    num_records: int
    skipped: Sequence[tuple[str, str]]


def build_report(results: Path, output: Path, bundles: Path, pictures: Path) -> Report:
    """Writes `index.html`, `report.md` and `figures/` into a folder.

    Args:
        results: folder of result files.
        output: folder of the page; figures of an earlier page are removed.
        bundles: folder of the trained models; the main figures show these.
        pictures: list of sheets (JSON); where it is missing, there are none.

    Raises:
        InvalidInputError: there is no folder of results, or a listed picture is missing.
        MissingExtraError: matplotlib or Markdown is not installed.
    """
    sources = read_folder(results)
    models = summary.read_bundles(bundles)
    shown = split_entries(sources, models)
    sheets = read_pictures(pictures)
    output.mkdir(parents=True, exist_ok=True)
    for old in (output / FIGURES).glob("*.svg"):
        old.unlink()
    book = Book(output)
    _opening(book, sources)
    book.heading("At a glance: which scheme where")
    summary.which_scheme(book, shown)
    summary.costs(book, sources, models)
    paper_figures(book, shown)
    _show_pictures(book, sheets, pictures, output)
    bandwidth(book, shown)
    published(book, shown, read_published(results))
    receiver_time(book, sources, shown)
    separation(book, shown)
    mismatch(book, shown)
    fading(book, shown)
    tables.differences(book, sources)
    tables.ceilings(book, sources)
    tables.remaining(book, shown)
    gaps.missing(book, sources, models, with_pictures=bool(sheets))
    gaps.files(book, sources)
    markdown, html = output / "report.md", output / "index.html"
    markdown.write_text(book.markdown, encoding="utf-8")
    html.write_text(to_html(book.markdown, _TITLE, output), encoding="utf-8")
    count = sum(len(source.results.records) for source in sources.files)
    return Report(html, markdown, len(sources.files), count, sources.skipped)


def read_pictures(path: Path) -> list[Picture]:
    """The list of sheets; empty where there is none.

    Raises:
        InvalidInputError: the list is not valid.
    """
    if not path.exists():
        return []
    try:
        return TypeAdapter(list[Picture]).validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInputError("pictures", f"{path}: {where}: {first['msg']}") from error


def _opening(book: Book, sources: Sources) -> None:
    book.heading(_TITLE, 1)
    book.text(
        "Made by `genjscc report` from the result files of this repository; every number is from "
        "a command that stands beside it. Means over test images with 95 % intervals. Networks "
        "that are not LPIPS are not called LPIPS. Nothing here was measured on a GPU. How this "
        "differs from the paper: [differences](../differences.md)."
    )
    if not sources.files:
        book.text("**There are no result files yet.**")


def _show_pictures(book: Book, sheets: Sequence[Picture], listed_in: Path, output: Path) -> None:
    book.heading("Pictures (the form of Fig. 7 and Fig. 9)")
    book.text(
        "Only photographs that are free to show are on this page. The same commands draw test "
        "faces (`--data FOLDER`) into any folder outside the repository."
    )
    if not sheets:
        book.text("No sheets are here yet; see *What is missing*.")
    for sheet in sheets:
        path = os.path.relpath(listed_in.parent / sheet.file, output)
        book.picture(Path(path).as_posix(), sheet.caption, sheet.command)
