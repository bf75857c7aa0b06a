# SPDX-License-Identifier: Apache-2.0
"""Variables that are misspelt are named at the start; those that there are, are not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from genjscc.environment import unknown_variables
from genjscc.serving.settings import ChannelSettings, misspelt_variables, read_settings

ROOT = Path(__file__).resolve().parents[2]


def test_a_misspelt_variable_is_named_with_what_was_meant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GENJSCC_MAX_BACTH", "4")
    monkeypatch.setenv("GENJSCC_UMBRELLA", "fine")
    monkeypatch.setenv("GENJSCC_BUNDLES", "models")  # another service's
    read_settings(ChannelSettings, "channel", [])
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "warning: GENJSCC_MAX_BACTH is not a variable of anything here; "
        "did you mean GENJSCC_MAX_BATCH?",
        "warning: GENJSCC_UMBRELLA is not a variable of anything here",
    ]


def test_what_orchestrators_set_is_no_mistake() -> None:
    names = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_GRPC", "PORT", "PORT_50051_TCP_ADDR")
    assert not unknown_variables([], {f"GENJSCC_TRANSMITTER_{name}": "x" for name in names})


def test_every_variable_that_is_written_down_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [*ROOT.glob("docs/*.md"), ROOT / "README.md", *ROOT.glob("docker-compose*.yml")]
    pages += [*ROOT.glob("deploy/**/*.yaml"), *ROOT.glob("deploy/**/*.yml")]
    named = {
        name
        for page in pages
        for name in re.findall(r"\bGENJSCC_[A-Z0-9_]*[A-Z0-9]", page.read_text())
    }
    assert len(named) > 15
    for name in named:
        monkeypatch.setenv(name, "x")
    assert misspelt_variables() == []
