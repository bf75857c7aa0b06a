# SPDX-License-Identifier: Apache-2.0
"""Writes docs/benchmarks.md and its plots from results/bench_*.json.

    python benchmarks/page/build.py

It works with whatever results are there and says what is missing. What no figure can say (why a
criterion is not met, and what was tried) is in `remarks.md` here, and is put in as it is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.schema import BenchFile, Criterion, read
from benchmarks.page.plots import curves, growth_panels, inversion_panels, peer_panels
from benchmarks.page.serving import cost, echo, hops, kills, overload, soak
from benchmarks.page.tables import NBSP, figure, table
from genjscc.errors import InvalidInputError

REMARKS = Path(__file__).with_name("remarks.md")
INTRODUCTION = """\
# Benchmarks

What the services cost beside the least that their work can cost, and beside servers that one
might take instead. Every comparison is a ratio of figures of one run, in which both sides take
turns; the figure is the median over the rounds, and what stands in brackets are the lowest and
the highest round. Absolute figures are of one machine, of which only the number of cores is told:
they are there to read the ratios by. No GPU was measured.

```sh
make bench                    # all of it: about an hour on two idle cores
make bench NAMES='floors'     # or peers, numerics, growth, cost_model, training, inversion_time
make bench NAMES='serving_kill'  # or serving_cost, _hop, _echo, _overload; _soak takes an hour
make bench-short              # that it runs: seconds each, no figures
python benchmarks/page/build.py  # this page from results/bench_*.json
```
"""


@dataclass(frozen=True)
class Part:
    """A section of the page: of which file, how it is made, and what it shows."""

    name: str
    title: str
    command: str
    about: str
    body: Callable[[dict[str, Any]], list[str]]
    plots: Callable[[dict[str, Any]], dict[str, str]] = lambda _: {}


def floors(found: dict[str, Any]) -> list[str]:
    """Ratios of each service, then the figures behind them."""
    services: dict[str, Any] = found["services"]
    names = list(dict.fromkeys(key for one in services.values() for key in one["ratios"]))
    ratios = [
        [
            name,
            *(
                figure(one["ratios"][name]) if name in one["ratios"] else ""
                for one in services.values()
            ),
        ]
        for name in names
    ]
    lines = table(["ratio", *services], ratios)
    rows = []
    for role, one in services.items():
        for name, values in one["values"].items():
            cells = [figure(values[key], 3) for key in ("p50_ms", "per_second", "cpu_ms")]
            if name in one["start_s"]:
                memory = f"{one['memory_bytes'][name] / 2**20:.0f}"
                rows.append([f"{role}: {name}", *cells, memory, f"{one['start_s'][name]:.1f}"])
            else:  # the network alone once more, in full batches beside a client
                rows.append([f"{role}: {name}", "", *cells[1:], "", ""])
    head = ["", "p50 / ms, one in flight", "per second", "CPU ms per item", "MiB", "start / s"]
    return [*lines, *table(head, rows)]


def peers(found: dict[str, Any]) -> list[str]:
    """Ours over each peer, each server by itself, and peers that are missing."""
    lines = [f"**{name}** was not measured: {error}\n" for name, error in found["errors"].items()]
    if found["ratios"]:
        first = next(iter(next(iter(found["ratios"].values())).values()))
        rows = [
            [f"{name}: {case}", *(figure(ratios[key]) for key in first)]
            for name, cases in found["ratios"].items()
            for case, ratios in cases.items()
        ]
        lines += ["Ours over theirs; above 1 we are ahead.\n", *table(["", *first], rows)]
    rows = []
    for name, server in found["servers"].items():
        for case, values in server["cases"].items():
            best = max(values["points"], key=lambda point: point["per_second"]["median"])
            half = values["half_load"]
            memory = server["memory_bytes"][case.partition(",")[0]]["median"] / 2**20
            rows.append(
                [
                    f"{name}: {case}",
                    figure(best["per_second"], 1),
                    figure(best["p99_ms"], 1),
                    figure(found["share_of_alone"][name][case]),
                    figure(half["p50_ms"], 1),
                    figure(half["p99_ms"], 1),
                    figure(best["cpu_ms"], 1),
                    f"{memory:.0f}",
                    figure(server["start_s"], 1),
                ]
            )
    head = ["", "images/s", "its p99 / ms", "of the network alone", "p50 / ms at half load"]
    head += ["p99 / ms at half load", "CPU ms per image", "MiB", "start / s"]
    versions = ", ".join(found["versions"].values())
    return [*lines, *table(head, rows), f"Versions: {versions}.\n"]


def numerics(found: dict[str, Any]) -> list[str]:
    """A table for each case."""
    lines = []
    for case, choices in found["cases"].items():
        rows = []
        for name, one in choices.items():
            if name == "plain":
                continue
            product = found["in_product"].get(name, "")
            if "error" in one:
                rows.append([name, f"failed: {one['error']}", "", "", product])
                continue
            lost = one.get("error_db")
            error = "" if lost is None else f"{lost:.0f}"
            pays = "yes" if one["pays"] else "no"
            rows.append([name, figure(one["speed"]), pays, error, product])
        lines += [f"### {case}\n", *table(["", "speed", "pays", "error / dB", "GenJSCC"], rows)]
        for one in choices.values():
            for where, late in one.get("loop_late_p99_ms", {}).items():
                lines.append(
                    f"The event loop is late by {figure(late, 1)} ms (p99), files {where}.\n"
                )
    return lines


def growth(found: dict[str, Any]) -> list[str]:
    """Exponents; the curves are in the plots."""
    curves_ = curves(found)
    rows = [
        [
            name,
            f"{one['x'][0]:g} to {one['x'][-1]:g}",
            figure(one["exponent"]),
            figure(one["last_exponent"]),
            f"{one['r2']:.3f}",
        ]
        for name, one in curves_.items()
    ]
    generator = found["inversion"]["generator"]
    head = ["", "from, to", "exponent", "of the last two", "R²"]
    return [*table(head, rows), f"Generator of the inversions: {generator}.\n"]


def cost_model(found: dict[str, Any]) -> list[str]:
    """Counts, and what follows for devices by their data sheets."""
    devices = found["devices"]
    rows = []
    for row in found["rows"]:
        bounds = [row["bound_ms"][device] for device in devices]
        rows.append(
            [
                f"{row['network']} ({row['width']}), {row['side']}x{row['side']}: {row['scheme']}",
                f"{row['flops'] / 1e9:.2f}",
                *(f"{row[key] / 1e6:.1f}" for key in ("weight_bytes", "least_bytes", "most_bytes")),
                *(f"{one['fused']:.3f} / {one['eager']:.3f}" for one in bounds),
            ]
        )
    head = ["network (width)", "GFLOP", "weights / MB", "least / MB", "most / MB"]
    sheets = "; ".join(
        f"{name}: {one['peak_tflops']:g} TFLOP/s, {one['gb_per_s']:g} GB/s"
        for name, one in devices.items()
    )
    return [
        "**This is a model. Nothing here was measured, on no GPU.**\n",
        *table([*head, *(f"{device}: at least, ms" for device in devices)], rows),
        f"Data sheets: {sheets} (16 bits, dense). The two bounds of a device are for `least` and "
        "for `most` bytes, each with the peak that no program reaches.\n",
    ]


def training(found: dict[str, Any]) -> list[str]:
    """One ratio."""
    rows = [[name, figure(one, 1)] for name, one in found["images_per_s"].items()]
    return [
        f"Ours over the plain loop: {figure(found['ratio'])}.\n",
        *table(["", "images/s"], rows),
    ]


def inversion_time(found: dict[str, Any]) -> list[str]:
    """A table for each pair: quality after some of the steps, of both runs."""
    lines = [
        f"{found['dataset']}, split {found['split']}, n = {found['n']}, seed {found['seed']}, "
        f"rho = {found['bandwidth_ratio']}, {found['snr_db']:+g} dB; batches of {found['batch']}; "
        "± 95 % interval.\n"
    ]
    for model, one in found["models"].items():
        rows = []
        for name, points in one["curves"].items():
            shown = [p for p in points if p["steps"] in SHOWN_STEPS or p is points[-1]]
            for p in shown:
                times = [f"{p['wall_s']:.2f}", f"{p['cpu_s']:.2f}"]
                rows.append([f"{name}: {p['steps']}", *times, *quality(p)])
        head = [
            "steps",
            "wall clock / s",
            "CPU / s",
            "PSNR / dB",
            "ST-LPIPS (VGG)",
            "ST-LPIPS (Alex)",
        ]
        lines += [f"### Sent by {model}\n", *table(head, rows)]
    return lines


def quality(point: dict[str, Any]) -> list[str]:
    """PSNR and both distances with their intervals."""
    shown = (("psnr_db", 2), ("st_lpips_vgg", 3), ("st_lpips_alex", 3))
    return [
        f"{point[name]['mean']:.{digits}f} ± {point[name]['ci95']:.{digits}f}"
        for name, digits in shown
    ]


SHOWN_STEPS = (1, 10, 25, 50, 100)
PARTS = (
    Part(
        "floors",
        "Floors",
        "python benchmarks/floors.py",
        "The same batches without a service, a bare gRPC echo and a TCP echo of the same messages; "
        "64x64 pixels, one thread. *alone* computes what the service computes and nothing else.",
        floors,
    ),
    Part(
        "peers",
        "Other servers",
        "python benchmarks/peers/install.py && python benchmarks/peers/compare.py",
        "LitServe, Ray Serve behind its gRPC proxy and BentoML with the same network, one replica "
        "on one thread, batches of up to 16, asked by the same load generator. Throughput at equal "
        "p99 is ours within the p99 that the other one has at its highest throughput, over that "
        "throughput.",
        peers,
        peer_panels,
    ),
    Part(
        "numerics",
        "Numerical choices",
        "python benchmarks/numerics.py",
        "Each against float32 in PyTorch's default layout, eager, on one thread. It pays where the "
        "median is at least 1.05 and no round is slower.",
        numerics,
    ),
    Part(
        "growth",
        "Growth",
        "python benchmarks/growth.py",
        "The slope of the logarithms: time or memory grows as that power.",
        growth,
        growth_panels,
    ),
    Part(
        "cost_model",
        "A cost model for GPUs",
        "python benchmarks/cost_model.py",
        "Operations and bytes of one image, counted on tensors without numbers.",
        cost_model,
    ),
    Part(
        "training",
        "Training",
        "python benchmarks/training_throughput.py data/faces64 results/bench_training.json",
        "DeepJSCC, 64x64 pixels, batch 32: `genjscc train deepjscc` against the loop that one "
        "writes first, float32 in one process.",
        training,
    ),
    Part(
        "inversion_time",
        "Inversions: quality against time",
        "python benchmarks/inversion_time.py",
        "The preset *paper* (150 steps from the mean latent, float32) and the preset *fast* find "
        "the same images from the same symbols, in turns; time is per image. Beside a number of "
        "steps stands the image that the last of them saw: at 1 it is the start. The speed-ups "
        "above are the paper's whole time over the time after which *fast* is as good.",
        inversion_time,
        inversion_panels,
    ),
    Part(
        "serving_cost",
        "Serving: CPU time at saturation",
        "python benchmarks/serving/cost.py",
        "The whole process of a saturated service against the same batches of 16 in one process.",
        cost,
    ),
    Part(
        "serving_hop",
        "Serving: what a hop adds",
        "python benchmarks/serving/hop.py",
        "One image at a time through three services: time of each hop beyond its own computation, "
        "in milliseconds, as the SDK sees it.",
        hops,
    ),
    Part(
        "serving_echo",
        "Serving: the channel against an echo",
        "python benchmarks/serving/echo.py",
        "Codewords of 8 KiB; the echo returns the bytes it got, unread, and is the least that an "
        "asyncio gRPC server can be.",
        echo,
    ),
    Part(
        "serving_overload",
        "Serving: five times too much",
        "python benchmarks/serving/overload.py",
        "Calls at five times the transmitter's capacity, at random moments. The client that makes "
        "them shares the machine.",
        overload,
    ),
    Part(
        "serving_kill",
        "Serving: services killed under a stream",
        "python benchmarks/serving/kill.py",
        "Two replicas of each service; SIGKILL for one after the other, and a new start.",
        kills,
    ),
    Part(
        "serving_soak",
        "Serving: an hour of mixed load",
        "python benchmarks/serving/soak.py",
        "Calls and streams of several sizes and rates, cancelled and wrong ones among them.",
        soak,
    ),
)


def criteria(files: dict[str, BenchFile | str]) -> list[str]:
    """All criteria of all files."""
    titles = {part.name: part.title for part in PARTS}
    rows = [
        [
            one.name,
            value_of(one),
            limit_of(one),
            "met" if one.met else "**not met**",
            titles[name],
            cell(one.note),
        ]
        for name, file in files.items()
        if isinstance(file, BenchFile)
        for one in file.criteria
    ]
    if not rows:
        return ["None has been measured yet.\n"]
    return table(["criterion", "measured", "limit", "", "see", ""], rows)


def cell(text: str) -> str:
    """Anything as one cell of a table: other programs' errors hold what they like."""
    return " ".join(text.split()).replace("|", "\\|")


def value_of(one: Criterion) -> str:
    """What was measured."""
    return "not measured" if one.value is None else f"{one.value:.2f}"


def limit_of(one: Criterion) -> str:
    """What must hold."""
    sign, limit = ("≥", one.at_least) if one.at_least is not None else ("≤", one.at_most)
    return f"{sign}{NBSP}{limit:g}"


def section(part: Part, file: BenchFile | str, shown: dict[str, str], images: str) -> list[str]:
    """A part with its figures, or that it has none."""
    lines = [f"## {part.title}\n", f"{part.about}\n"]
    if isinstance(file, str):
        return [*lines, f"{file} `{part.command}`.\n"]
    if file.short:
        lines.append("**A short run, to see that it works: these are no figures.**\n")
    content = file.model_dump()
    lines += part.body(content)
    for name, svg in part.plots(content).items():
        shown[name] = svg
        lines.append(f"![{part.title}]({images}/{name})\n")
    lines.append(
        f"Command: `{file.command}`; {file.cores} cores; {file.seconds / 60:.1f} minutes; version "
        f"{file.version}, commit `{file.commit}`.\n"
    )
    return lines


def load(results: Path) -> dict[str, BenchFile | str]:
    """Result files by part; a sentence where there is none."""
    found: dict[str, BenchFile | str] = {}
    for part in PARTS:
        path = results / f"bench_{part.name}.json"
        if not path.exists():
            found[part.name] = "Not measured yet. It is measured by"
            continue
        try:
            found[part.name] = read(path)
        except InvalidInputError as error:
            found[part.name] = f"`{path.name}` cannot be read ({error}). It is made by"
    return found


def render(results: Path, images: str, remarks: str = "") -> tuple[str, dict[str, str]]:
    """The page, and its plots by file name.

    Args:
        results: folder of result files.
        images: where the page finds its plots.
        remarks: Markdown that stands below the criteria.
    """
    files, shown = load(results), dict[str, str]()
    lines = [INTRODUCTION, "## What is to hold\n", *criteria(files)]
    if remarks:
        lines.append(f"{remarks.strip()}\n")
    for part in PARTS:
        lines += section(part, files[part.name], shown, images)
    return "\n".join(lines).rstrip() + "\n", shown


def main() -> int:
    parser = argparse.ArgumentParser(description="docs/benchmarks.md from the results")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks.md"))
    arguments = parser.parse_args()
    remarks = REMARKS.read_text() if REMARKS.exists() else ""
    page, plots = render(arguments.results, "images", remarks)
    folder = arguments.output.parent / "images"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("bench_*.svg"):
        if old.name not in plots:
            old.unlink()
    for name, svg in plots.items():
        (folder / name).write_text(svg)
    arguments.output.write_text(page)
    print(f"written: {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
