# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from genjscc.cli.console import report_error
from genjscc.cli.model_choice import choose_model
from genjscc.client.options import ModelInfo, SchemeName
from genjscc.errors import InvalidInputError, ModelNotFoundError
from tests.helpers.command_line import genjscc
from tests.helpers.tiny_bundles import GENERATIVE, SINGLE, write_tiny, write_tiny_generative


def model(name: str, scheme: SchemeName, *, default: bool = False) -> ModelInfo:
    return ModelInfo(name, scheme, "0" * 16, ("1/768",), "noise", 64, (-5.0, 5.0), default)


OFFERED = [
    model("a", "generative"),
    model("b", "deepjscc"),
    model("c", "deepjscc", default=True),
    model("d", "generative"),
]


@pytest.mark.parametrize(
    ("name", "scheme", "chosen"),
    [
        (None, None, "c"),
        ("d", None, "d"),
        ("a", "deepjscc", "a"),
        (None, "deepjscc", "c"),
        (None, "generative", "a"),
        (None, "inverse", "c"),
    ],
)
def test_by_name_else_by_scheme_else_the_default(
    name: str | None, scheme: str | None, chosen: str
) -> None:
    assert choose_model(OFFERED, name, scheme).name == chosen


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    with pytest.raises(ModelNotFoundError, match="'x'; there are a, b, c, d"):
        choose_model(OFFERED, "x", "generative")


def test_an_image_of_the_wrong_size_comes_with_a_way_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    problem = "got 80x40 pixels; model 'm' carries images of 64x64 only"
    report_error(InvalidInputError("image", problem))
    assert "--size 64 sends" in capsys.readouterr().err


def test_demo_of_the_generative_scheme_through_real_services(tmp_path: Path) -> None:
    write_tiny(tmp_path / "models", SINGLE)
    write_tiny_generative(tmp_path / "models", steps=(2, 32))
    sheet = tmp_path / "sheet.png"
    flags = ("--scheme", "generative", "--bundles", str(tmp_path / "models"), "-o", str(sheet))
    result = genjscc("demo", *flags)
    assert result.returncode == 0, result.stderr
    assert GENERATIVE in result.stdout
    with Image.open(sheet) as picture:
        assert picture.width > picture.height > 100
