# SPDX-License-Identifier: Apache-2.0
"""Comparison of our services with LitServe, Ray Serve and BentoML: same run, model and load.

    python benchmarks/peers/install.py
    python benchmarks/peers/compare.py

Each server has one replica of the network on one thread, batches of up to 16, and the machine to
itself while it is measured; servers take turns, round by round. Encoding and decoding of 64x64 and
256x256 pixels; messages hold plain pixels and symbols (base64 in JSON where a server speaks HTTP).
The load comes from the loops of `genjscc loadtest`: closed loops of more and more callers, then an
open loop at half of the throughput that the server has just reached. "Throughput at equal p99":
ours within the p99 that the peer has at its own highest throughput, over that throughput.

Peers wait at most 1 ms for company (`--peer-wait-ms`), less than their documentation proposes: it
shortens their latencies at low load and costs nothing under load. A peer that cannot be installed
or started is in the result with its error.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.estimates import Point, ratio_spread, spread, throughput_ratio
from benchmarks.common.harness import (
    closed,
    cpu_of_family,
    criterion,
    finish,
    measured,
    memory_of_family,
    opened,
    parser,
)
from benchmarks.common.in_process import MODEL, RATE, Alone, Role, make_engine, requests_of
from benchmarks.peers.client import MAX_BATCH, OURS, PeerError, Server
from benchmarks.peers.install import ENVIRONMENTS, requirements

ROLES: tuple[Role, ...] = ("transmitter", "receiver")
SIDES = (64, 256)
CALLERS = {64: (1, 8, 32), 256: (1, 4, 12)}
SECONDS = {64: 2.5, 256: 4.0}
ALONE_BATCH = {64: 16, 256: 4}
LIMIT = 1.5
Case = dict[str, Any]


def check(role: Role, answer: bytes, expected: bytes) -> None:
    """Check that the server computes the same result as ours.

    Raises:
        PeerError: it does not.
    """
    if role == "transmitter":
        ours, theirs = (np.frombuffer(one, np.float32) for one in (expected, answer))
        same = ours.shape == theirs.shape and bool(np.allclose(ours, theirs, atol=1e-3))
    else:
        pixels = [np.frombuffer(one, np.uint8).astype(int) for one in (expected, answer)]
        same = len(pixels[0]) == len(pixels[1]) and abs(pixels[0] - pixels[1]).max() <= 1
    if not same:
        raise PeerError("answers something else than ours for the same request")


async def one_side(server: Server, payloads: list[bytes], side: int, seconds: float) -> Case:
    """Run closed loops of several sizes, then half of the highest load."""
    points = []
    async with server.sender() as send:
        for callers in CALLERS[side]:
            before, own = cpu_of_family(server.pid), time.process_time()
            recorder = await closed(send, payloads, callers=callers, seconds=seconds)
            found = measured(recorder)
            lasted = seconds + min(0.5, seconds / 4)
            images = found["per_second"] * lasted
            found |= {
                "callers": callers,
                "cpu_ms": (cpu_of_family(server.pid) - before) / images * 1e3,
                "client_cpu_share": (time.process_time() - own) / lasted,
            }
            points.append(found)
        most = max(point["per_second"] for point in points)
        half = await opened(send, payloads, per_second=most / 2, seconds=seconds)
        return {"points": points, "half_load": measured(half) | {"asked_per_second": most / 2}}


async def one_server(
    name: str, role: Role, requests: dict[int, list[Any]], scale: float, options: Any
) -> dict[str, Any]:
    """Measure one round of one server; return the error if there is one."""
    began = time.perf_counter()
    server: Server | None = None
    try:
        server = Server(name, role, options.environments, options.peer_wait_ms)
        found: dict[str, Any] = {"answers": {}, "sides": {}}
        for side in SIDES:
            payloads = [server.protocol.payload(request) for request in requests[side]]
            found["answers"][side] = await server.first_answer(payloads[0])
            found.setdefault("start_s", time.perf_counter() - began)
            if expected := options.expected.get((role, side)):
                check(role, found["answers"][side], expected)
            found["sides"][side] = await one_side(server, payloads, side, SECONDS[side] * scale)
        found["memory_bytes"] = memory_of_family(server.pid)
        return found
    except (PeerError, SystemExit) as error:
        return {"error": str(error)}
    finally:
        if server is not None:
            server.stop()


def alone(role: Role, scale: float) -> dict[int, float]:
    """Measure images per second of the network without a server: the bound for one thread."""
    found = {}
    with Alone(role) as process:
        for side, batch in ALONE_BATCH.items():
            once = min(process.ask(batch=batch, side=side, repeat=2)["walls_s"])
            repeat = max(2, round(SECONDS[side] * scale / once))
            done = process.ask(batch=batch, side=side, repeat=repeat)
            found[side] = done["images"] / sum(done["walls_s"])
    return found


def comparison(ours: list[Case], theirs: list[Case]) -> dict[str, dict[str, float]]:
    """Return our ratios to a peer round by round; above 1 we are faster."""

    def points(case: Case) -> list[Point]:
        return [Point(one["per_second"], one["p99_ms"]) for one in case["points"]]

    pairs = list(zip(ours, theirs, strict=True))
    made = {
        "throughput at equal p99": [throughput_ratio(points(a), points(b)) for a, b in pairs],
        "highest throughput": [
            max(one.per_second for one in points(a)) / max(one.per_second for one in points(b))
            for a, b in pairs
        ],
        "p50 with one caller": [
            b["points"][0]["p50_ms"] / a["points"][0]["p50_ms"] for a, b in pairs
        ],
        "CPU time per image": [
            b["points"][-1]["cpu_ms"] / a["points"][-1]["cpu_ms"] for a, b in pairs
        ],
        **{
            f"{key} at half load": [
                b["half_load"][f"{key}_ms"] / a["half_load"][f"{key}_ms"] for a, b in pairs
            ]
            for key in ("p50", "p99")
        },
    }
    return {name: spread(values) for name, values in made.items()}


def summary(cases: list[Case]) -> dict[str, Any]:
    """Summarise one server and size over the rounds."""
    columns = zip(*(case["points"] for case in cases), strict=True)
    return {
        "points": [
            {key: spread([one[key] for one in column]) for key in column[0] if key != "callers"}
            | {"callers": column[0]["callers"]}
            for column in columns
        ],
        "half_load": {
            key: spread([case["half_load"][key] for case in cases]) for key in cases[0]["half_load"]
        },
    }


def measure(names: list[str], rounds: int, scale: float, options: Any) -> dict[str, Any]:
    """Measure all rounds of all servers; a server that failed once is skipped."""
    requests: dict[Role, dict[int, list[Any]]] = {}
    options.expected = {}
    for role in ROLES:
        engine = make_engine(role, "float32", 1)
        requests[role] = {side: requests_of(role, engine, 8, side) for side in SIDES}
        for message in requests[role][64] + requests[role][256]:
            message.snr_db = 5.0  # what the peers tell the networks
    found: dict[str, dict[str, list[Any]]] = {name: {role: [] for role in ROLES} for name in names}
    errors: dict[str, str] = {}
    ceilings: dict[Role, list[dict[int, float]]] = {role: [] for role in ROLES}
    for number in range(rounds):
        for role in ROLES:
            ceilings[role].append(alone(role, scale))
            # Whoever is first in one round is last in the next; ours goes first in the first.
            for name in names[:: 1 if number % 2 == 0 else -1]:
                if name in errors:
                    continue
                once = asyncio.run(one_server(name, role, requests[role], scale, options))
                if "error" in once:
                    errors[name] = f"{role}: {once['error']}"
                    print(f"{name}: {errors[name]}", file=sys.stderr)
                    continue
                for side, answer in once.pop("answers").items():
                    if name == OURS:
                        options.expected.setdefault((role, side), answer)
                found[name][role].append(once)
                print(f"round {number + 1}, {role}: {name}", file=sys.stderr, flush=True)
    if OURS in errors:
        raise SystemExit(errors[OURS])
    return {"found": found, "errors": errors, "ceilings": ceilings}


def main() -> int:
    made = parser("our services beside others", "bench_peers.json")
    made.add_argument("--environments", type=Path, default=ENVIRONMENTS)
    made.add_argument("--peer-wait-ms", type=float, default=1.0, help="for a batch to fill")
    made.add_argument("--peer", action="append", help="only these; repeat")
    options = made.parse_args()
    rounds, scale = (1, 0.25) if options.short else (3, 1.0)
    versions = requirements()
    peers = options.peer or list(versions)
    result = measure([OURS, *peers], rounds, scale, options)
    found, errors = result["found"], result["errors"]
    ceilings = result["ceilings"]
    shares: dict[str, dict[str, Any]] = {}
    servers: dict[str, Any] = {}
    ratios: dict[str, Any] = {}
    criteria = []
    for name in [OURS, *peers]:
        if name in errors:
            continue
        servers[name] = {
            "start_s": spread([one["start_s"] for role in ROLES for one in found[name][role]]),
            "memory_bytes": {
                role: spread([one["memory_bytes"] for one in found[name][role]]) for role in ROLES
            },
            "cases": {
                f"{role}, {side}": summary([one["sides"][side] for one in found[name][role]])
                for role in ROLES
                for side in SIDES
            },
        }
        shares[name] = {
            f"{role}, {side}": ratio_spread(
                [
                    max(point["per_second"] for point in one["sides"][side]["points"])
                    for one in found[name][role]
                ],
                [one[side] for one in ceilings[role]],
            )
            for role in ROLES
            for side in SIDES
        }
    for name in peers:
        for role in ROLES:
            for side in SIDES:
                case = f"{role}, {side}"
                limit = LIMIT if side == 64 else 1.0
                if name not in errors:
                    sides = [[one["sides"][side] for one in found[n][role]] for n in (OURS, name)]
                    ratios.setdefault(name, {})[case] = comparison(*sides)
                for what in ("throughput at equal p99", "p50 with one caller"):
                    value = ratios[name][case][what]["median"] if name not in errors else None
                    note = errors.get(name, "")
                    if value is not None and value < limit and what.startswith("throughput"):
                        share = shares[name][case]["median"]
                        note = f"it reaches {share:.2f} of the network alone on the same core"
                    title = f"{case}x{side}: ahead of {name}, {what}"
                    criteria.append(criterion(title, value, limit, at_most=False, note=note))
    return finish(
        options.output,
        short=options.short,
        criteria=criteria,
        model=MODEL,
        bandwidth_ratio=RATE,
        max_batch=MAX_BATCH,
        peer_wait_ms=options.peer_wait_ms,
        versions={name: versions.get(name, "") for name in peers},
        rounds=rounds,
        errors=errors,
        servers=servers,
        ratios=ratios,
        share_of_alone=shares,
    )


if __name__ == "__main__":
    sys.exit(main())
