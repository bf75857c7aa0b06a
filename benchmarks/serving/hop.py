# SPDX-License-Identifier: Apache-2.0
"""Latency that each hop adds to the model's own time, with one call in flight.

    python benchmarks/serving/hop.py

The SDK sends 64x64 images one after the other. A hop's time is what the caller waits for it, the
making and reading of messages included; the model's own is what the service reports.
"""

from __future__ import annotations

import sys

import numpy as np

from benchmarks.common.harness import criterion, finish, parser
from genjscc.client.options import HOPS
from genjscc.launch.processes import LocalServices
from genjscc.loadtest.mix import picture

MODEL, RATE = "faces64", "1/48"
LIMIT_MS = 1.5


def main() -> int:
    arguments = parser("time that a hop adds", "bench_serving_hop.json").parse_args()
    warm_up, count = (20, 100) if arguments.short else (100, 3000)
    added: dict[str, list[float]] = {hop: [] for hop in HOPS}
    own: dict[str, list[float]] = {hop: [] for hop in HOPS}
    with LocalServices() as services, services.connect() as link:
        for number in range(warm_up + count):
            reception = link.send(picture(64, 64, number % 32), model=MODEL, rate=RATE, seed=number)
            if number >= warm_up:
                for hop in HOPS:
                    model = reception.compute_seconds[hop]
                    own[hop].append(model * 1e3)
                    added[hop].append((reception.seconds[hop] - model) * 1e3)
    found = {
        hop: {
            f"{name}_ms": {f"p{q}": float(np.percentile(values, q)) for q in (50, 90, 99)}
            for name, values in (("added", added[hop]), ("own", own[hop]))
        }
        for hop in HOPS
    }
    criteria = [
        criterion(f"{hop}: p50 added, ms", found[hop]["added_ms"]["p50"], LIMIT_MS, at_most=True)
        for hop in HOPS
    ]
    return finish(
        arguments.output,
        short=arguments.short,
        criteria=criteria,
        model=MODEL,
        bandwidth_ratio=RATE,
        images=count,
        hops=found,
    )


if __name__ == "__main__":
    sys.exit(main())
