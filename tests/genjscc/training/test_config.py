# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from genjscc.errors import InvalidInputError
from genjscc.repository import REPOSITORY
from genjscc.training.config import DeepJSCCConfig, load_config

SHIPPED = sorted((REPOSITORY / "configs" / "train").glob("deepjscc_*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_are_valid(path: Path) -> None:
    assert load_config(DeepJSCCConfig, path, {}).images > 0


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("image_size", 60, "multiple of 16"),
        ("symbol_channels", 7, "multiple of 2"),
        ("channel_steps", [8, 2], "ascending"),
        ("channel_steps", [2, 4], "symbol_channels"),
        ("snr_db", [5, -5], "lower end"),
        ("perceptual", "vgg", "st-lpips-vgg"),
        ("learning_rat", 1, "Extra inputs"),
        ("images", "many", "integer"),
    ],
)
def test_a_wrong_field_is_named_with_what_would_be_right(
    tmp_path: Path, field: str, value: object, what: str
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("train: a\nval: b\nsymbol_channels: 8\n")
    with pytest.raises(InvalidInputError) as caught:
        load_config(DeepJSCCConfig, path, {field: value})
    assert what in str(caught.value)
    assert field in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a list", "a: [unclosed"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=r"run\.yaml"):
        load_config(DeepJSCCConfig, path, {})
