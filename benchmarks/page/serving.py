# SPDX-License-Identifier: Apache-2.0
"""Sections of docs/benchmarks.md on serving: cost, latency, overload, kills and long runs."""

from __future__ import annotations

from typing import Any

from benchmarks.page.tables import figure, paragraph, table

_PERCENTILES = ("p50", "p90", "p99")


def cost(found: dict[str, Any]) -> list[str]:
    """Render the CPU time per image, and its ratio to the in-process reference."""
    rows = []
    for role, one in found["services"].items():
        times, ratio = one["cpu_ms_per_image"], one["ratio"]
        rows.append(
            [
                role,
                *(figure(times[key]) for key in ("model_ms", "calls_ms", "stream_ms")),
                *(figure(ratio[key]) for key in ("calls", "stream")),
            ]
        )
    head = ["CPU ms per image", "reference", "calls", "streams"]
    return table([*head, "calls over reference", "streams over reference"], rows)


def hops(found: dict[str, Any]) -> list[str]:
    """Render the latency that each hop adds, and its own computation."""
    rows = [
        [hop, *(f"{one[part][q]:.2f}" for part in ("added_ms", "own_ms") for q in _PERCENTILES)]
        for hop, one in found["hops"].items()
    ]
    head = ["", *(f"{part} {q}" for part in ("added,", "own,") for q in _PERCENTILES)]
    return [*table(head, rows), f"{found['images']} images.\n"]


def echo(found: dict[str, Any]) -> list[str]:
    """Render the rates of both, and their ratio."""
    rates = found["per_second"]
    rows = [
        [
            kind,
            *(figure(rates[name][kind], 0) for name in ("echo", "channel")),
            figure(ratio),
            *(figure(rates[name][f"{kind}_cpu_us"], 0) for name in ("echo", "channel")),
        ]
        for kind, ratio in found["ratio"].items()
    ]
    head = ["", "echo, messages/s", "channel, messages/s", "ratio"]
    return table([*head, "echo, CPU us per message", "channel, CPU us per message"], rows)


def overload(found: dict[str, Any]) -> list[str]:
    """Render rates and latencies of each overload."""
    lines: list[str] = []
    for flood in found["floods"]:
        able, cores = flood["capacity_per_second"], flood["device_cores"]
        setting = (
            f"With core {cores} reserved for computing" if cores else "With the default settings"
        )
        lines.append(
            paragraph(
                f"{setting}: capacity {able['before']:.0f} images/s before and "
                f"{able['after']:.0f} afterwards; {flood['asked_per_second']:.0f} requested and "
                f"{flood['goodput_per_second']:.0f} completed per second, for "
                f"{flood['seconds']:.0f} s."
            )
        )
        rows = [
            [name, *(f"{flood[key][q]:.1f}" for q in _PERCENTILES)]
            for name, key in (("rejected", "rejected_ms"), ("completed", "good_ms"))
        ]
        lines += table(["ms", *_PERCENTILES], rows)
    return lines


def kills(found: dict[str, Any]) -> list[str]:
    """Render the outcomes, and the longest pause that a kill caused."""
    ends = ", ".join(f"{count} {name}" for name, count in found["ends"].items())
    return [
        paragraph(
            f"{found['images']} images in {found['seconds']:.0f} s, {len(found['kills'])} kills. "
            f"Outcomes: {ends}. Longest pause between two of them: {found['longest_gap_s']:.1f} s."
        )
    ]


def soak(found: dict[str, Any]) -> list[str]:
    """Render resident memory, descriptors and threads at the start and at the end."""
    rows = [
        [
            role,
            *(f"{one['resident_bytes'][i] / 2**20:.0f}" for i in (0, -1)),
            *(f"{one[key][i]}" for key in ("descriptors", "threads") for i in (0, -1)),
        ]
        for role, one in found["services"].items()
    ]
    head = ["", "MiB after a tenth", "at the end", "descriptors", "at the end", "threads"]
    names = {"left": "cancelled by the caller"}
    ends = ", ".join(f"{count} {names.get(name, name)}" for name, count in found["ends"].items())
    load = f"{found['images']} images in {found['seconds'] / 60:.0f} minutes"
    pause = (
        f", with a pause of {found['pause_ms']:g} ms per caller after each"
        if found["pause_ms"]
        else ""
    )
    return [*table([*head, "at the end"], rows), paragraph(f"{load}{pause}: {ends}.")]


def reload(found: dict[str, Any]) -> list[str]:
    """Render resident memory and descriptors after the warm-up and at the end."""
    rows = [
        [
            role,
            f"{one['reloads'].get('done', 0)}",
            *(f"{one['resident_bytes'][i] / 2**20:.0f}" for i in (0, -1)),
            *(f"{one['descriptors'][i]}" for i in (0, -1)),
        ]
        for role, one in found["services"].items()
    ]
    head = ["", "reloads", "MiB after a tenth", "at the end", "descriptors", "at the end"]
    images = f"{sum(found['ends'].values())} images in {found['reloading_s'] / 60:.0f} minutes."
    return [*table(head, rows), paragraph(images)]
