# SPDX-License-Identifier: Apache-2.0
"""Writes deploy/grafana/dashboards/link.json: the dashboard of the link.

python deploy/grafana/dashboard.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parent / "dashboards" / "link.json"
DATA_SOURCE = {"type": "prometheus", "uid": "prometheus"}
RATE = "[$__rate_interval]"
WIDTH, HEIGHT = 24, 8
HOPS = {"Encode": "transmitter", "Transmit": "channel", "Decode": "receiver"}


def panel(
    kind: str, title: str, queries: dict[str, str], *, unit: str, text: str
) -> dict[str, Any]:
    """One panel: legend to PromQL."""
    return {
        "type": kind,
        "title": title,
        "description": text,
        "datasource": DATA_SOURCE,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {},
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": DATA_SOURCE, "expr": query, **legend(name)}
            for i, (name, query) in enumerate(queries.items())
        ],
    }


def legend(name: str) -> dict[str, str]:
    return {"legendFormat": name, "editorMode": "code"}


def lines(title: str, queries: dict[str, str], *, unit: str, text: str) -> dict[str, Any]:
    made = panel("timeseries", title, queries, unit=unit, text=text)
    made["options"] = {"tooltip": {"mode": "multi"}, "legend": {"displayMode": "list"}}
    return made


def heat_map(title: str, bucket: str, *, unit: str, text: str) -> dict[str, Any]:
    """Counts per bucket of a histogram over time."""
    query = f"sum by (le) (increase({bucket}{RATE}))"
    made = panel("heatmap", title, {"{{le}}": query}, unit="short", text=text)
    made["targets"][0]["format"] = "heatmap"
    made["options"] = {
        "calculate": False,
        "yAxis": {"unit": unit},
        "color": {"scheme": "Oranges", "mode": "scheme"},
        "cellGap": 1,
    }
    return made


def rate(metric: str, by: str, where: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{where}{RATE}))"


def mean(histogram: str, by: str) -> str:
    return f"{rate(histogram + '_sum', by)} / {rate(histogram + '_count', by)}"


def quantile(q: float, histogram: str, by: str = "", where: str = "") -> str:
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({q}, {rate(histogram + '_bucket', labels, where)})"


def panels() -> list[list[dict[str, Any]]]:
    """The rows of the dashboard."""
    hops = "|".join(HOPS.values())
    ready = panel(
        "stat",
        "Replicas that serve",
        {"{{job}}": "sum by (job) (genjscc_ready)"},
        unit="short",
        text="Replicas whose models are loaded and that are not draining.",
    )
    ready["options"] = {"colorMode": "value", "reduceOptions": {"calcs": ["lastNotNull"]}}
    requests = lines(
        "Calls and items of streams",
        {
            "{{method}}": rate("genjscc_requests_total", "method"),
            "{{method}} items": rate("genjscc_stream_items_total", "method"),
        },
        unit="reqps",
        text="Finished calls a second. A stream counts as one call when it ends; its images are "
        "its items.",
    )
    errors = lines(
        "What did not end well",
        {
            "{{method}} {{code}}": rate("genjscc_requests_total", "method, code", '{code!="OK"}'),
            "{{method}} item {{code}}": rate(
                "genjscc_stream_items_total", "method, code", '{code!="OK"}'
            ),
        },
        unit="reqps",
        text="By gRPC status. INVALID_ARGUMENT and the like are the caller's; INTERNAL is ours.",
    )
    heat_maps = [
        heat_map(
            f"Latency of {method} ({role})",
            f'genjscc_request_seconds_bucket{{method="{method}"}}',
            unit="s",
            text="Single calls from their arrival to their end, waiting included.",
        )
        for method, role in HOPS.items()
    ]
    latency = lines(
        "Latency, p50 and p99",
        {
            f"{{{{method}}}} p{round(100 * q)}": quantile(
                q, "genjscc_request_seconds", "method", '{method=~"Encode|Transmit|Decode"}'
            )
            for q in (0.5, 0.99)
        },
        unit="s",
        text="Single calls, interpolated within the histogram's buckets.",
    )
    compute = lines(
        "Compute time of an item",
        {
            "{{job}}": f"{rate('genjscc_compute_seconds_sum', 'job')} / "
            f"{rate('genjscc_batch_size_sum', 'job')}"
        },
        unit="s",
        text="Time of the batches over the number of their items: what one image costs.",
    )
    depth = lines(
        "Queue depth",
        {"{{job}} {{instance}}": "sum by (job, instance) (genjscc_queue_depth)"},
        unit="short",
        text="Items that wait for the model. What Kubernetes scales by.",
    )
    wait = lines(
        "Wait in the queue, p90",
        {"{{job}}": quantile(0.9, "genjscc_queue_wait_seconds", "job")},
        unit="s",
        text="Until an item's batch begins.",
    )
    batch = lines(
        "Batch size, mean",
        {"{{job}}": mean("genjscc_batch_size", "job")},
        unit="short",
        text="Items that were computed together.",
    )
    refused = lines(
        "Refused and dropped",
        {
            "{{job}} refused: {{reason}}": rate("genjscc_rejected_requests_total", "job, reason"),
            "{{job}} dropped: {{reason}}": rate("genjscc_dropped_items_total", "job, reason"),
        },
        unit="reqps",
        text="Refused before they were read (queue full, too many streams, token), or left the "
        "queue without being computed (cancelled, deadline).",
    )
    snr = lines(
        "SNR asked and measured",
        {
            "asked, median": quantile(0.5, "genjscc_channel_asked_snr_decibels"),
            "measured, median": quantile(0.5, "genjscc_channel_measured_snr_decibels"),
            "measured, p10": quantile(0.1, "genjscc_channel_measured_snr_decibels"),
            "measured, p90": quantile(0.9, "genjscc_channel_measured_snr_decibels"),
        },
        unit="dB",
        text="Of the codewords that met noise. The medians agree on AWGN; under fading the "
        "measured SNR is that of the moment.",
    )
    del snr["fieldConfig"]["defaults"]["min"]
    inversions = lines(
        "Inversions",
        {
            "in work": "sum(genjscc_active_inversions)",
            "waiting": "sum(genjscc_waiting_inversions)",
            "in a batch, mean": f"sum(rate(genjscc_inversion_batch_size_sum{RATE})) / "
            f"sum(rate(genjscc_inversion_batch_size_count{RATE}))",
        },
        unit="short",
        text="Optimisations of the scheme inverse: under way, waiting for a slot, and how many "
        "make a step together.",
    )
    progress = lines(
        "Progress of inversions",
        {
            "steps": f"sum(rate(genjscc_inversion_steps_total{RATE}))",
            "{{outcome}}": rate("genjscc_inversions_total", "outcome"),
        },
        unit="ops",
        text="Steps a second, each image of a batch counted, and inversions that ended.",
    )
    step_time = lines(
        "Time of a step, p50 and p99",
        {f"p{round(100 * q)}": quantile(q, "genjscc_inversion_step_seconds") for q in (0.5, 0.99)},
        unit="s",
        text="Of a batch of inversions. A cancelled one ends after at most one step.",
    )
    traffic = lines(
        "Bytes",
        {
            "{{job}} in": rate("genjscc_received_bytes_total", "job"),
            "{{job}} out": rate("genjscc_sent_bytes_total", "job"),
        },
        unit="Bps",
        text="Of messages, without gRPC's framing.",
    )
    cpu = lines(
        "CPU",
        {"{{job}} {{instance}}": f'rate(process_cpu_seconds_total{{job=~"{hops}"}}{RATE})'},
        unit="short",
        text="Cores in use, by replica.",
    )
    memory = lines(
        "Memory",
        {"{{job}} {{instance}}": f'process_resident_memory_bytes{{job=~"{hops}"}}'},
        unit="bytes",
        text="Resident, by replica.",
    )
    gateway = lines(
        "Gateway",
        {
            "{{envoy_cluster_name}} replicas": "sum by (envoy_cluster_name) "
            f'(envoy_cluster_membership_healthy{{envoy_cluster_name=~"{hops}"}})',
            "{{envoy_cluster_name}} in flight": "sum by (envoy_cluster_name) "
            f'(envoy_cluster_upstream_rq_active{{envoy_cluster_name=~"{hops}"}})',
        },
        unit="short",
        text="Healthy replicas as the gateway sees them, and calls that it has passed on.",
    )
    return [
        [ready, requests, errors],
        heat_maps,
        [latency, compute],
        [depth, wait, batch],
        [refused, snr],
        [inversions, progress, step_time],
        [traffic, cpu, memory],
        [gateway],
    ]


def dashboard() -> dict[str, Any]:
    """The whole of it, panels placed row by row."""
    placed = []
    for row, members in enumerate(panels()):
        width = WIDTH // len(members)
        for column, member in enumerate(members):
            where = {"x": column * width, "y": row * HEIGHT, "w": width, "h": HEIGHT}
            placed.append({"id": len(placed) + 1, "gridPos": where, **member})
    return {
        "uid": "genjscc-link",
        "title": "GenJSCC: the link",
        "tags": ["genjscc"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "panels": placed,
    }


def main() -> None:
    TARGET.write_text(json.dumps(dashboard(), indent=2) + "\n")


if __name__ == "__main__":
    main()
