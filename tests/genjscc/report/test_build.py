# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from genjscc.errors import InvalidInputError
from genjscc.evaluation.records import InversionRecord, ResultFile, write_results
from genjscc.report.build import build_report
from genjscc.report.files import read_result_file
from genjscc.report.selection import comparable, three_snrs
from genjscc.report.sources import PSNR, Entry, Source, read_folder
from tests.helpers.pictures import file_of, gradient
from tests.helpers.result_files import learned, linear, separated, timed, write


def everything(folder: Path) -> Path:
    """Results of every kind."""
    results = folder / "results"
    deep = learned("deepjscc", "faces", 18.0)
    write(results / "deep.json", [*deep, *linear(17.0)])
    write(results / "generative.json", learned("generative", "gen", 19.0))
    subset = {"n": 128}
    inverse = learned("inverse", "faces", 17.5, **subset)
    write(results / "inverse.json", [*inverse, *learned("deepjscc", "faces", 18.2, **subset)])
    write(results / "told.json", learned("deepjscc", "faces", 16.0, told_snr_db=-5.0))
    write(results / "fading.json", learned("deepjscc", "faces", 15.0, channel="fading"))
    write(
        results / "time.json",
        [timed("deepjscc", 0.004), timed("inverse", 3.0, inversion={"preset": "fast"})],
    )
    free = separated("webp", 14.0, 0.25, headers=False)
    real = separated("jpeg", 13.5, 0.6, channel_code="ldpc", modulation="4-QAM", code_rate="1/2")
    write(results / "separation.json", [*separated("jpeg", 13.0, 1.0), *free, *real])
    return results


def bundles(folder: Path, pair_id: str = "p1") -> Path:
    """Two shipped models with 15 weights each."""
    for name in ("faces", "gen"):
        bundle = folder / "models" / name
        bundle.mkdir(parents=True, exist_ok=True)
        (bundle / "config.json").write_text(json.dumps({"pair_id": pair_id}))
        save_file({"w": np.zeros((3, 5), np.float32)}, bundle / "w.safetensors")
    return folder / "models"


def build(folder: Path, results: Path | None = None, models: Path | None = None) -> tuple[str, str]:
    """Markdown and HTML."""
    pictures = folder / "pictures" / "sheets.json"
    made = build_report(
        results or everything(folder), folder / "page", models or bundles(folder), pictures
    )
    return made.markdown.read_text(), made.html.read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def page(folder: Path) -> tuple[str, str]:
    return build(folder)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots cost seconds, and not every test looks at them."""
    monkeypatch.setattr("genjscc.report.book.draw", lambda *_: "<svg></svg>")


class Links(HTMLParser):
    """What a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("img", "script", "link", "iframe"):
            self.targets += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_needs_nothing_beside_it(page: tuple[str, str]) -> None:
    markdown, html = page
    links = Links()
    links.feed(html)
    assert [target for target in links.targets if not target.startswith("data:")] == []
    assert html.count("<svg") == markdown.count("![Figure") >= 7
    assert "figures/" not in html


def test_every_figure_says_what_it_shows_and_how_it_was_made(page: tuple[str, str]) -> None:
    parts = page[0].split("![Figure")[1:]
    for part in parts:
        for said in ("Data: faces test (64x64)", "n = ", "seed: 7", "95 % intervals", "channel:"):
            assert said in part, part[:300]
        if "ST-LPIPS" in part.split("Data:")[0]:
            assert "is not LPIPS" in part
        commands = re.search(r"<pre>(.*?)</pre>", part, re.DOTALL)
        assert commands is not None
        assert "genjscc made" in commands[1]
        assert "commit c0ffee" in commands[1]
        if not part.split("](figures/")[1].startswith(("separation", "fading")):
            for drawn in ("deep.json", "separation.json"):  # the baselines; one file has both
                assert f"made {drawn}" in commands[1]


@pytest.mark.parametrize(
    "figure", ["fig6_faces", "fig8_faces", "ratio_faces", "mismatch_faces", "time_faces"]
)
def test_baselines_are_in_every_plot(folder: Path, page: tuple[str, str], figure: str) -> None:
    (path,) = (folder / "page" / "figures").glob(f"{figure}*.svg")
    drawing = path.read_text()
    for label in (
        "linear (KLT)",
        "best codec, at capacity, headers counted",
        "best codec, at capacity, headers free",
        "best codec, 5G LDPC, headers counted",
    ):
        assert label in drawing
    if figure.startswith(("fig6", "fig8", "ratio")):
        assert "DeepJSCC (faces)" in drawing
    assert ("InverseJSCC (faces" in drawing) == figure.startswith(("fig6", "ratio", "time"))


def test_the_summary_has_the_best_scheme_and_the_best_codec(page: tuple[str, str]) -> None:
    summary = page[0].split("## Summary")[1].split("\n## ")[0]
    row = next(line for line in summary.splitlines() if line.startswith("| 1/192"))
    assert "**GenerativeJSCC (gen)** 0.525 ± 0.010" in row  # 1 - 19/40 at -5 dB
    assert "100 % outage" in row
    assert "| 64 | 3, 8, 16 |" in row
    assert "3000 ms preset=fast" in summary
    assert "0.00 M (w)" in summary


def test_outage_rates_are_printed(page: tuple[str, str]) -> None:
    section = page[0].split("## Separate source and channel coding")[1].split("\n## ")[0]
    assert "| at capacity, headers counted, rho = 1/768 | 100 % | 100 % | 100 % |" in section
    assert "25.0 % (webp)" in section
    assert "60.0 % (jpeg)" in section
    assert "notes of separation.json" in section


def test_comparisons_with_an_inversion_are_over_its_images(folder: Path, page: object) -> None:
    markdown, _ = page  # type: ignore[misc]
    figure_6 = markdown.split("(the form of Fig. 6)")[1].split("\n## ")[0]
    values = figure_6.split("<summary>Values")[1]
    rows = re.findall(r"<tr><td>DeepJSCC \(faces\)</td>(.*?)</tr>", values)
    assert len(rows) == 6
    assert all("<td>128</td>" in row for row in rows)
    figure_8 = markdown.split("(the form of Fig. 8)")[1].split("\n## ")[0]
    assert "<td>1000</td>" in figure_8
    assert "<td>128</td>" not in figure_8


def test_the_same_results_give_the_same_page(folder: Path, page: tuple[str, str]) -> None:
    before = {p.name: p.read_bytes() for p in (folder / "page" / "figures").iterdir()}
    (folder / "page" / "figures" / "old.svg").write_text("of an earlier page")
    assert build(folder, folder / "results") == page
    assert {p.name: p.read_bytes() for p in (folder / "page" / "figures").iterdir()} == before


@pytest.mark.usefixtures("undrawn")
def test_without_results_the_page_says_what_would_bring_them(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    markdown, html = build(tmp_path, tmp_path / "results")
    assert "There are no result files yet" in html
    missing = markdown.split("## Missing results")[1]
    for command in ("genjscc evaluate", "genjscc baseline", "genjscc invert", "receiver-time"):
        assert command in missing
    with pytest.raises(InvalidInputError, match="not a folder"):
        build(tmp_path, tmp_path / "nowhere")


@pytest.mark.usefixtures("undrawn")
def test_what_is_missing_names_ratios_and_snrs(tmp_path: Path) -> None:
    results = tmp_path / "results"
    some = learned("deepjscc", "faces", 18.0, dataset="faces64")
    write(results / "a.json", some)
    markdown, _ = build(tmp_path, results)
    row = next(li for li in markdown.splitlines() if li.startswith("| DeepJSCC, faces64"))
    assert "1/768 at -4, -3, -2, -1, +1, +2, +3, +4 dB" in row
    assert "1/48 at -5, -4" in row


@pytest.mark.usefixtures("undrawn")
def test_foreign_and_broken_files_are_named_and_left_out(tmp_path: Path) -> None:
    results = tmp_path / "results"
    write(results / "a.json", learned("deepjscc", "faces", 18.0))
    (results / "bench.json").write_text('{"speed": 3}')
    (results / "cut.json").write_text('{"records": [')
    markdown, _ = build(tmp_path, results)
    assert "bench.json" in markdown
    assert "cut.json" in markdown
    assert "is not JSON" in markdown


@pytest.mark.usefixtures("undrawn")
def test_results_of_other_weights_are_marked(tmp_path: Path) -> None:
    results = tmp_path / "results"
    write(results / "a.json", learned("deepjscc", "faces", 18.0))
    markdown, _ = build(tmp_path, results, bundles(tmp_path, "p1"))
    assert "other weights" not in markdown
    markdown, _ = build(tmp_path, results, bundles(tmp_path, "p2"))
    assert "**a.json** was measured with other weights of `faces`" in markdown


def test_models_that_do_not_ship_are_listed_but_not_plotted(tmp_path: Path) -> None:
    results = tmp_path / "results"
    ablation = learned("deepjscc", "without-af", 17.0)
    write(results / "a.json", [*learned("deepjscc", "faces", 18.0), *ablation])
    markdown, html = build(tmp_path, results)
    assert "without-af" not in "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    others = markdown.split("## Other measured models")[1]
    assert "DeepJSCC (without-af)" in others


@pytest.mark.usefixtures("undrawn")
def test_pictures_are_shown_with_their_commands(tmp_path: Path) -> None:
    results = tmp_path / "results"
    write(results / "a.json", linear(17.0))
    sheets = tmp_path / "pictures" / "sheets.json"
    sheets.parent.mkdir()
    listed = [{"file": "sheet.png", "caption": "Three faces.", "command": "genjscc compare x"}]
    sheets.write_text(json.dumps(listed))
    with pytest.raises(InvalidInputError, match=r"sheet\.png"):
        build(tmp_path, results)
    (sheets.parent / "sheet.png").write_bytes(file_of(gradient()))
    markdown, html = build(tmp_path, results)
    assert "](../pictures/sheet.png)" in markdown
    assert "Three faces." in markdown
    assert "data:image/png;base64," in html
    sheets.write_text('[{"file": "sheet.png"}]')
    with pytest.raises(InvalidInputError, match=r"0\.caption"):
        build(tmp_path, results)


@pytest.mark.usefixtures("undrawn")
def test_differences_and_ceilings_are_tables(tmp_path: Path) -> None:
    from genjscc.evaluation.records import Difference
    from tests.helpers.result_files import mean

    difference = Difference(
        scheme="generative",
        bundle="gen",
        pair_id="p",
        against_scheme="deepjscc",
        against_bundle="faces",
        against_pair_id="q",
        bandwidth_ratio="1/192",
        snr_db=0.0,
        told_snr_db=None,
        seed=0,
        means={"st_lpips_vgg": mean(-0.05, 0.01), "psnr_db": mean(0.02, 0.1)},
    )
    ceiling = InversionRecord(
        generator="g64",
        dataset="faces",
        split="test",
        n=64,
        image_size="64x64",
        steps=300,
        psnr_db=mean(24.0),
        st_lpips_vgg=mean(0.2),
        st_lpips_alex=mean(0.1),
    )
    results = ResultFile(
        command="c", version="v", commit="d", differences=[difference], inversions=[ceiling]
    )
    write_results(tmp_path / "results" / "a.json", results)
    markdown, _ = build(tmp_path, tmp_path / "results")
    assert "GenerativeJSCC (gen) minus DeepJSCC (faces)" in markdown
    assert "**-0.050 ± 0.010**" in markdown
    assert "| +0.020 ± 0.100 |" in markdown
    assert "| g64 | faces test (64x64) | 64 | 300 | 24.000" in markdown


def test_files_of_all_kinds_are_read_as_what_they_are(tmp_path: Path) -> None:
    results = everything(tmp_path)
    sources = read_folder(results)
    assert sources.skipped == []
    assert len(sources.timed) == 2
    assert not any(entry.record.n == 16 for entry in sources.entries)
    path = results / "separation.json"
    path.write_text(path.read_text().replace('"codec": "jpeg"', '"codec": 3', 1))
    with pytest.raises(InvalidInputError, match=r"records\.0\.codec"):
        read_result_file(path)


def test_the_same_measurement_in_two_files_counts_once(tmp_path: Path) -> None:
    results = tmp_path / "results"
    write(results / "a.json", learned("deepjscc", "faces", 18.0))
    write(results / "b.json", learned("deepjscc", "faces", 18.5))
    entries = read_folder(results).entries
    assert {entry.source.name for entry in entries} == {"a.json"}


def test_the_subset_that_schemes_share_is_compared() -> None:
    source = Source("s", ResultFile(command="c", version="v", commit="d"))
    many = learned("deepjscc", "faces", 18.0)
    few = [*learned("deepjscc", "faces", 18.2, n=128), *learned("inverse", "faces", 17.0, n=128)]
    entries = [Entry(record, source) for record in (*many, *linear(16.0), *few)]
    deep = [e for e in comparable(entries, like="inverse") if e.record.scheme == "deepjscc"]
    assert {entry.record.n for entry in deep} == {128}
    assert {e.record.n for e in comparable(entries) if e.record.scheme == "deepjscc"} == {1000}
    assert PSNR.text(many[0]) == "17.00 ± 0.01"


def test_snrs_of_few_series_are_left_out_of_the_tables() -> None:
    source = Source("s", ResultFile(command="c", version="v", commit="d"))
    shared = [*learned("deepjscc", "faces", 18.0), *linear(16.0)]
    alone = [one.model_copy(update={"snr_db": 20.0}) for one in learned("deepjscc", "a", 18.0)[:1]]
    snrs = three_snrs(Entry(record, source) for record in (*shared, *alone))
    assert snrs == three_snrs(Entry(record, source) for record in shared)
    assert three_snrs(Entry(record, source) for record in alone) == [20.0]
