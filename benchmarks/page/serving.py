# SPDX-License-Identifier: Apache-2.0
"""The sections of docs/benchmarks.md on how the services hold."""

from __future__ import annotations

from typing import Any

from benchmarks.page.tables import figure, table

_PERCENTILES = ("p50", "p90", "p99")


def cost(found: dict[str, Any]) -> list[str]:
    """CPU time for each image, and its ratio to the network's."""
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
    head = ["CPU ms per image", "network alone", "calls", "streams"]
    return table([*head, "calls over alone", "streams over alone"], rows)


def hops(found: dict[str, Any]) -> list[str]:
    """What each hop adds, beside its own computation."""
    rows = [
        [hop, *(f"{one[part][q]:.2f}" for part in ("added_ms", "own_ms") for q in _PERCENTILES)]
        for hop, one in found["hops"].items()
    ]
    head = ["", *(f"{part} {q}" for part in ("added,", "own,") for q in _PERCENTILES)]
    return [*table(head, rows), f"{found['images']} images.\n"]


def echo(found: dict[str, Any]) -> list[str]:
    """Rates of both, and their ratio."""
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
    """Rates, answers and how long they took, of each flood."""
    lines: list[str] = []
    for flood in found["floods"]:
        able, cores = flood["capacity_per_second"], flood["device_cores"]
        lines.append(
            f"{f'With core {cores} kept for the device' if cores else 'As a service starts'}: "
            f"capacity {able['before']:.0f} images/s before and {able['after']:.0f} afterwards; "
            f"{flood['asked_per_second']:.0f} asked and {flood['goodput_per_second']:.0f} answered "
            f"a second, for {flood['seconds']:.0f} s.\n"
        )
        rows = [
            [name, *(f"{flood[key][q]:.1f}" for q in _PERCENTILES)]
            for name, key in (("refused", "rejected_ms"), ("answered", "good_ms"))
        ]
        lines += table(["ms", *_PERCENTILES], rows)
    return lines


def kills(found: dict[str, Any]) -> list[str]:
    """How many, and how long a kill held the stream up."""
    ends = ", ".join(f"{count} {name}" for name, count in found["ends"].items())
    return [
        f"{found['images']} images in {found['seconds']:.0f} s, {len(found['kills'])} kills. "
        f"Outcomes: {ends}. Longest pause between two of them: {found['longest_gap_s']:.1f} s.\n"
    ]


def soak(found: dict[str, Any]) -> list[str]:
    """Resident memory, descriptors and threads at both ends."""
    rows = [
        [
            role,
            *(f"{one['resident_bytes'][i] / 2**20:.0f}" for i in (0, -1)),
            *(f"{one[key][i]}" for key in ("descriptors", "threads") for i in (0, -1)),
        ]
        for role, one in found["services"].items()
    ]
    head = ["", "MiB, a tenth in", "at the end", "descriptors", "at the end", "threads"]
    ends = ", ".join(f"{count} {name}" for name, count in found["ends"].items())
    load = f"{found['images']} images in {found['seconds'] / 60:.0f} minutes"
    pause = (
        f", each caller pausing {found['pause_ms']:g} ms after each" if found["pause_ms"] else ""
    )
    return [*table([*head, "at the end"], rows), f"{load}{pause}: {ends}.\n"]
