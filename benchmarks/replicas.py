# SPDX-License-Identifier: Apache-2.0
r"""Throughput of the Compose project with one and with two receivers.

    python benchmarks/replicas.py results/bench_replicas.json

Images come from this machine through the gateway, in a closed loop of `genjscc loadtest`. One and
two receivers take turns, round by round, so that what else the machine does disturbs both alike.
It is done twice: receivers may use the whole machine, or a small share of a core each. With the
share a receiver is a device of its own, as long as the cores are not all busy; without it, all
replicas live on the same cores and a second one has nothing to compute with.

The model is the utilisation law. D is the processor time that an image costs a service. All on
one machine: at most cores / (sum of D). A device for each replica: a service of n replicas passes
n / D, and the link passes what its slowest service does.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from genjscc import Link
from genjscc.cli.provenance import origin
from genjscc.launch.containers import GATEWAY, Project, free_ports_settings

REPLICAS = (1, 2)
SERVICES = ("transmitter", "channel", "receiver", GATEWAY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--shares", type=float, nargs="+", default=[os.cpu_count() or 1, 0.2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--rate", default="1/48")
    arguments = parser.parse_args()
    made_by = origin()
    Project().build()
    cases = [one_share(share, arguments) for share in arguments.shares]
    content = {
        **made_by,
        "command": shlex.join(["python", *sys.argv]),
        "what": "images per second through the Compose project, by number of receivers",
        "cores": os.cpu_count(),
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "callers": arguments.callers,
        "bandwidth_ratio": arguments.rate,
        "cases": cases,
    }
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    arguments.results.write_text(json.dumps(content, indent=2) + "\n")
    for case in cases:
        print(summary(case))


def one_share(share: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure all rounds with receivers limited to a share of a core."""
    settings = {**free_ports_settings(), "RECEIVER_CPUS": f"{share:g}"}
    project = Project("genjscc-replicas", settings=settings)
    runs: dict[int, list[dict[str, Any]]] = {count: [] for count in REPLICAS}
    try:
        for number in range(arguments.rounds):
            for count in REPLICAS:
                project.up(scale={"receiver": count})
                runs[count].append(one_run(project, arguments))
                print(f"share {share:g}, round {number + 1}, {count}: {runs[count][-1]}")
    finally:
        project.down(volumes=True)
    cost = {name: fmean(run["cpu_s"][name] for run in runs[1]) for name in runs[1][0]["cpu_s"]}
    return {
        "share_of_a_core": share,
        "ok_per_second": {
            count: [run["ok_per_second"] for run in made] for count, made in runs.items()
        },
        "ratio": fmean(
            two["ok_per_second"] / one["ok_per_second"]
            for one, two in zip(runs[1], runs[2], strict=True)
        ),
        "cpu_s_per_image": cost,
        "model": {
            "all_on_this_machine_per_second": (os.cpu_count() or 1) / sum(cost.values()),
            "receivers_until_the_transmitter_is_slowest": cost["receiver"] / cost["transmitter"],
        },
    }


def one_run(project: Project, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return images per second, and the CPU time of an image by service."""
    with Link(**project.addresses()) as link:
        link.wait_ready()
    with TemporaryDirectory() as folder:
        result = Path(folder) / "load.json"
        where = [f"--{role}={address}" for role, address in project.addresses().items()]
        command = ["loadtest", *where, f"--duration={arguments.seconds}", f"--output={result}"]
        command += [f"--callers={arguments.callers}", f"--rate={arguments.rate}", "--warm-up=0"]
        before, own = spent(project), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "genjscc", *command], check=True, capture_output=True)
        after, own_after = spent(project), resource.getrusage(resource.RUSAGE_CHILDREN)
        measured = json.loads(result.read_text())
    images = measured["images"]
    cpu = {name: (after[name] - before[name]) / images for name in SERVICES}
    cpu["client"] = (own_after.ru_utime - own.ru_utime + own_after.ru_stime - own.ru_stime) / images
    return {"ok_per_second": measured["ok_per_second"], "cpu_s": cpu}


def spent(project: Project) -> dict[str, float]:
    """Return the CPU seconds of each service so far, over all replicas."""
    return {
        name: sum(
            one.stats(stream=False)["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9
            for one in project.containers(name)
        )
        for name in SERVICES
    }


def summary(case: dict[str, Any]) -> str:
    one, two = (fmean(case["ok_per_second"][count]) for count in REPLICAS)
    return (
        f"{case['share_of_a_core']:g} of a core each: {one:.1f} and {two:.1f} images/s, "
        f"ratio {case['ratio']:.2f}; the model: at most "
        f"{case['model']['all_on_this_machine_per_second']:.1f} on this machine"
    )


if __name__ == "__main__":
    main()
