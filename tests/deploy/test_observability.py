# SPDX-License-Identifier: Apache-2.0
"""Prometheus' configuration, alerts and the dashboard, without an engine."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import yaml

from genjscc.serving.metrics import Metrics
from tests.helpers.deploy_tools import DEPLOY, documented_queries, promtool

PROMETHEUS = DEPLOY / "prometheus"
COMPONENT = DEPLOY / "kubernetes" / "components"
ALERTS = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"][0]["rules"]
OPERATIONS = (DEPLOY.parent / "docs" / "operations.md").read_text()
TARGET = DEPLOY / "grafana" / "dashboards" / "link.json"


def queries() -> Iterator[tuple[str, str]]:
    """Title and PromQL of every panel."""
    for panel in json.loads(TARGET.read_text())["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def known_samples() -> set[str]:
    """Names of all samples that a service may expose."""
    suffixes = {"histogram": ("_bucket", "_count"), "counter": ("_total",), "info": ("_info",)}
    return {
        family.name + suffix
        for family in Metrics("channel", "0").registry.collect()
        for suffix in suffixes.get(family.type, ("",))
    } | {
        # Those of SNRs have none: a sum that falls is no counter.
        family.name + "_sum"
        for family in Metrics("channel", "0").registry.collect()
        if family.type == "histogram" and "decibels" not in family.name
    }


def test_prometheus_takes_configuration_and_alerts() -> None:
    promtool("check", "config", PROMETHEUS / "prometheus.yml")


def test_the_rest_of_the_clusters_configuration_too(tmp_path: Path) -> None:
    configuration = yaml.safe_load((COMPONENT / "observability" / "prometheus.yml").read_text())
    for job in configuration["scrape_configs"]:
        # Debian's Prometheus knows nothing of Kubernetes.
        job.pop("kubernetes_sd_configs", None)
    target = tmp_path / "prometheus.yml"
    target.write_text(yaml.safe_dump(configuration))
    promtool("check", "config", "--syntax-only", target)


def test_alerts_fire_on_their_fault_alone() -> None:
    promtool("test", "rules", PROMETHEUS / "alerts_test.yml")


def test_every_alert_has_a_test_and_a_page_to_read() -> None:
    tested = set(re.findall(r"alertname: (\w+)", (PROMETHEUS / "alerts_test.yml").read_text()))
    assert {alert["alert"] for alert in ALERTS} == tested
    for alert in ALERTS:
        assert f"`{alert['alert']}`" in OPERATIONS
        assert alert["labels"]["severity"] in ("page", "ticket")


def test_queries_ask_for_metrics_that_exist() -> None:
    known = known_samples()
    asked = [*queries(), *((alert["alert"], alert["expr"]) for alert in ALERTS)]
    asked += [("docs/operations.md", query) for query in documented_queries()]
    for title, query in asked:
        for name in re.findall(r"\b(?:genjscc|process)_\w+", query):
            assert name in known, f"{title}: {name}"
    adapter = (COMPONENT / "autoscale" / "prometheus-adapter.yaml").read_text()
    assert "genjscc_queue_depth" in adapter
    assert "genjscc_queue_depth" in known


def test_the_dashboard_is_what_its_program_writes() -> None:
    spec = spec_from_file_location("dashboard", DEPLOY / "grafana" / "dashboard.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = module_from_spec(spec)
    sys.modules["dashboard"] = module
    spec.loader.exec_module(module)
    assert json.loads(TARGET.read_text()) == module.dashboard()
    assert TARGET.read_text().endswith("}\n")


def test_both_prometheus_know_the_same_jobs() -> None:
    here = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    there = yaml.safe_load((COMPONENT / "observability" / "prometheus.yml").read_text())
    jobs = [{job["job_name"] for job in one["scrape_configs"]} for one in (here, there)]
    # There, one job finds all pods and is told apart by their names.
    assert jobs[0] == (jobs[1] - {"services"}) | {"transmitter", "channel", "receiver"}
    assert here["global"] == there["global"]
    source = DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
    (data_source,) = yaml.safe_load(source.read_text())["datasources"]
    assert data_source["jsonData"]["timeInterval"] == here["global"]["scrape_interval"]
