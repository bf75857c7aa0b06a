# SPDX-License-Identifier: Apache-2.0
"""docs/operations.md knows every metric and every setting, and names no other."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from genjscc.client.security import Security
from genjscc.serving.metrics import Metrics
from genjscc.serving.settings import ChannelSettings, ReceiverSettings, TransmitterSettings
from tests.helpers.deploy_tools import promtool

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "docs" / "operations.md").read_text()
_SUFFIX = {"counter": "_total", "info": "_info"}
# What Prometheus makes of a histogram.
_PARTS = ("_bucket", "_sum", "_count")


def exported() -> dict[str, str]:
    """Names as they are on the page, with their types."""
    families = Metrics("channel", "0").registry.collect()
    return {family.name + _SUFFIX.get(family.type, ""): family.type for family in families}


@pytest.mark.parametrize("name", sorted(exported()))
def test_every_metric_is_documented(name: str) -> None:
    table = TEXT.partition("## Metrics")[2].partition("Questions")[0]
    assert f"`{name}`" in table


def test_no_other_metric_is() -> None:
    known = exported()
    parts = {n + part for n, kind in known.items() if kind == "histogram" for part in _PARTS}
    named = set(re.findall(r"\b(?:genjscc|process)_[a-z_]+[a-z]\b", TEXT))
    assert named <= known.keys() | parts


def variables() -> set[str]:
    kinds = (TransmitterSettings, ChannelSettings, ReceiverSettings)
    return {f"GENJSCC_{field.upper()}" for kind in kinds for field in kind.model_fields}


@pytest.mark.parametrize("name", sorted(variables()))
def test_every_setting_is_documented(name: str) -> None:
    assert f"`{name}`" in TEXT


def test_no_other_setting_is() -> None:
    of_clients = {f"GENJSCC_{role}" for role in ("TRANSMITTER", "CHANNEL", "RECEIVER")}
    asked: set[str] = set()

    class Recording(dict[str, str]):
        def get(self, key: str, default: str = "") -> str:  # type: ignore[override]
            asked.add(key)
            return default

    Security.from_environment(Recording())
    named = set(re.findall(r"\bGENJSCC_[A-Z_]+[A-Z]\b", TEXT))
    assert asked <= named
    of_compose = set(re.findall(r"\$\{(\w+)", (REPOSITORY / "docker-compose.yml").read_text()))
    assert named <= variables() | of_clients | asked | of_compose


def test_the_queries_are_promql(tmp_path: Path) -> None:
    table = TEXT.partition("| question | PromQL |")[2].partition("\n\n")[0]
    queries = [q.replace("\\|", "|") for q in re.findall(r"\| `(.*)` \|", table)]
    assert len(queries) >= 10
    rules = [{"record": f"query:{number}", "expr": q} for number, q in enumerate(queries)]
    file = tmp_path / "rules.json"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "operations", "rules": rules}]}))
    promtool("check", "rules", file)
