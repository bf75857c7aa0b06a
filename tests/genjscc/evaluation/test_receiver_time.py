# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from genjscc import LocalLink
from genjscc.cli.commands import receiver_time, report
from genjscc.cli.measuring import load_dataset
from genjscc.client.inversion import InversionOptions
from genjscc.evaluation.receiver_time import Machine, TimedFile, time_receiver
from genjscc.evaluation.sweep import Cell, Meter
from genjscc.report.files import read_result_file
from tests.helpers.photo_folders import write_photos


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "set" / "test"
    write_photos(folder, 5, size=(32, 32))
    return folder


def test_each_image_is_decoded_alone_and_timed(bundles: Path, photos: Path) -> None:
    images = load_dataset(photos, 5, 0, "", "")
    times: list[float] = []
    with LocalLink(bundles=bundles, max_batch=1) as link:
        record = time_receiver(
            link,
            link.models()[0],
            images,
            Cell("1/192", 0.0),
            Meter(),
            scheme="deepjscc",
            machine=Machine("Abacus 3", 1),
            note=lambda reception: times.append(reception.compute_seconds["decode"]),
        )
    assert len(set(times)) == 5, "images of one batch share its time"
    assert record.receiver_seconds.mean == pytest.approx(sum(times) / 5)
    assert (record.n, record.processor, record.threads) == (5, "Abacus 3", 1)


def test_inversions_are_asked_for_as_told(photos: Path) -> None:
    images = load_dataset(photos, 2, 0, "", "")
    asked: list[dict[str, Any]] = []

    class Recorder:
        def send_many(self, pictures: Any, **keywords: Any) -> Any:
            asked.append(keywords)
            for picture in pictures:
                yield SimpleNamespace(
                    image=picture,
                    codeword=SimpleNamespace(k=16),
                    transmission=SimpleNamespace(channel_uses=16),
                    compute_seconds={"decode": 2.0 + len(asked)},
                )

    model: Any = SimpleNamespace(name="m", pair_id="p")
    fast = InversionOptions(preset="fast")
    record = time_receiver(
        Recorder(),  # type: ignore[arg-type]
        model,
        images,
        Cell("1/192", 0.0),
        Meter(),
        scheme="inverse",
        machine=Machine("Abacus 3", 2),
        inversion=fast,
    )
    assert [one["inversion"] for one in asked] == [fast]
    assert (record.inversion, record.receiver_seconds.mean) == ({"preset": "fast"}, 3.0)


def test_the_command_writes_what_the_report_reads(
    bundles: Path, photos: Path, tmp_path: Path
) -> None:
    app = typer.Typer()
    receiver_time.register(app)
    report.register(app)
    results, page = tmp_path / "results", tmp_path / "page"
    given = ["receiver-time", str(photos), str(results / "time.json"), "--bundles", str(bundles)]
    options = ["--num", "3", "--rate", "1/192", "--perceptual", "none"]
    outcome = CliRunner().invoke(app, [*given, *options], catch_exceptions=False)
    assert outcome.exit_code == 0
    file = read_result_file(results / "time.json")
    assert isinstance(file, TimedFile)
    assert file.records[0].processor
    given = ["report", "--results", str(results), "--output", str(page)]
    outcome = CliRunner().invoke(
        app, [*given, "--bundles", str(bundles), "--pictures", "none"], catch_exceptions=False
    )
    assert outcome.exit_code == 0
    assert "1 records of 1 files" in outcome.output
    text = (page / "report.md").read_text()
    assert "compute time" in (next((page / "figures").glob("time_*"))).read_text()
    assert file.records[0].processor in text
