# SPDX-License-Identifier: Apache-2.0
"""The metrics pages, read by a strict parser of OpenMetrics."""

from __future__ import annotations

import pytest
from prometheus_client.exposition import generate_latest as plain_text
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict
from prometheus_client.parser import text_string_to_metric_families as lenient

from genjscc.serving.metrics import Metrics


@pytest.mark.parametrize("role", ["transmitter", "channel", "receiver"])
def test_a_strict_parser_accepts_every_page(role: str) -> None:
    metrics = Metrics(role, "1.0")
    for used in (False, True):
        if used:
            metrics.observe_snr_db(-7.0, 3.0)
            metrics.request_seconds.labels("Send").observe(0.1)
            metrics.requests.labels("Send", "OK").inc()
        families = {
            family.name: family for family in strict(generate_latest(metrics.registry).decode())
        }
        list(lenient(plain_text(metrics.registry).decode()))
        for family in families.values():
            names = {sample.name for sample in family.samples}
            if family.type == "histogram" and names:
                # Neither alone, nor where buckets are negative.
                assert (f"{family.name}_sum" in names) == (f"{family.name}_count" in names)
    buckets = families["genjscc_channel_asked_snr_decibels"].samples
    assert [one.value for one in buckets if one.labels.get("le") in ("-8.75", "-6.25")] == [0, 1]
