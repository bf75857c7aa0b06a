# SPDX-License-Identifier: Apache-2.0
"""Write docs/benchmarks.md and its plots from results/bench_*.json.

    python benchmarks/page/build.py

The page uses the result files that exist and names missing ones. `remarks.md` in this folder
explains unmet criteria and failed attempts.
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
from benchmarks.page.serving import cost, echo, hops, kills, overload, reload, soak
from benchmarks.page.tables import NBSP, figure, paragraph, table
from genjscc.errors import InvalidInputError

REMARKS = Path(__file__).with_name("remarks.md")
INTRODUCTION = """\
# Benchmarks

The services' overhead relative to a lower bound, and relative to other model servers. Each
comparison is a ratio within one run, in which both sides take turns. Values are the median over the
rounds, with the lowest and the highest round in brackets. Absolute values are of one machine with
two cores and only give the scale of the ratios. Nothing was measured on a GPU.

```sh
make bench                       # everything: about an hour on two idle cores
make bench NAMES='floors'        # or peers, numerics, growth, cost_model, training, inversion_time
make bench NAMES='serving_kill'  # or serving_cost, _hop, _echo, _overload; _soak takes an hour
make bench-short                 # check that everything runs: seconds each, no valid values
python benchmarks/page/build.py  # write this page from results/bench_*.json
```

[Acceptance criteria](#acceptance-criteria) and the reasons for unmet ones follow the results.
"""


@dataclass(frozen=True)
class Part:
    """A section of the page: its result file, its command, and the functions that render it."""

    name: str
    title: str
    command: str
    about: str
    body: Callable[[dict[str, Any]], list[str]]
    plots: Callable[[dict[str, Any]], dict[str, str]] = lambda _: {}


def floors(found: dict[str, Any]) -> list[str]:
    """Render the ratios of each service, then the values behind them."""
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
            else:  # the in-process reference in full batches, with a client on the other core
                rows.append([f"{role}: {name}", "", *cells[1:], "", ""])
    head = ["", "p50 / ms, one in flight", "per second", "CPU ms per item", "MiB", "start / s"]
    return [*lines, *table(head, rows)]


def peers(found: dict[str, Any]) -> list[str]:
    """Render our values over each peer's, the values of each server, and missing peers."""
    lines = [f"**{name}** was not measured: {error}\n" for name, error in found["errors"].items()]
    if found["ratios"]:
        first = next(iter(next(iter(found["ratios"].values())).values()))
        rows = [
            [f"{name}: {case}", *(figure(ratios[key]) for key in first)]
            for name, cases in found["ratios"].items()
            for case, ratios in cases.items()
        ]
        lines += ["Ratio of ours to theirs; above 1, ours is better.\n", *table(["", *first], rows)]
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
    head = ["", "images/s", "p99 / ms there", "share of reference", "p50 / ms at half load"]
    head += ["p99 / ms at half load", "CPU ms per image", "MiB", "start / s"]
    versions = ", ".join(found["versions"].values())
    return [*lines, *table(head, rows), f"Versions: {versions}.\n"]


def numerics(found: dict[str, Any]) -> list[str]:
    """Render a table for each case."""
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
                lines.append(f"Event loop delay with files {where}: {figure(late, 1)} ms (p99).\n")
    return lines


def growth(found: dict[str, Any]) -> list[str]:
    """Render the exponents; the plots show the curves."""
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
    head = ["", "range", "exponent", "exponent of the last two", "R²"]
    return [*table(head, rows), f"Generator of the inversions: {generator}.\n"]


def cost_model(found: dict[str, Any]) -> list[str]:
    """Render the counts and the time bounds that follow from data sheets."""
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
    head = ["network (width)", "GFLOP", "weights / MB", "fewest / MB", "most / MB"]
    sheets = "; ".join(
        f"{name}: {one['peak_tflops']:g} TFLOP/s, {one['gb_per_s']:g} GB/s"
        for name, one in devices.items()
    )
    return [
        "**This is a model; nothing was measured on a GPU.**\n",
        *table([*head, *(f"{device}, ms" for device in devices)], rows),
        paragraph(
            f"Data sheets: {sheets} (16 bits, dense). Each device has two lower bounds on the "
            "time, for the fewest and for the most bytes, both at peak rates that no "
            "program reaches."
        ),
    ]


def training(found: dict[str, Any]) -> list[str]:
    """Render the ratio and both rates."""
    rows = [[name, figure(one, 1)] for name, one in found["images_per_s"].items()]
    return [
        f"Ratio of ours to the plain loop: {figure(found['ratio'])}.\n",
        *table(["", "images/s"], rows),
    ]


def inversion_time(found: dict[str, Any]) -> list[str]:
    """Render a table for each pair: quality after some steps of both presets."""
    lines = [
        paragraph(
            f"{found['dataset']}, split {found['split']}, n = {found['n']}, seed {found['seed']}, "
            f"rho = {found['bandwidth_ratio']}, {found['snr_db']:+g} dB; batches of "
            f"{found['batch']}; ± 95 % interval."
        )
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
        lines += [f"### Symbols of {model}\n", *table(head, rows)]
    return lines


def quality(point: dict[str, Any]) -> list[str]:
    """Format PSNR and both distances with their intervals."""
    shown = (("psnr_db", 2), ("st_lpips_vgg", 3), ("st_lpips_alex", 3))
    return [
        f"{point[name]['mean']:.{digits}f} ± {point[name]['ci95']:.{digits}f}"
        for name, digits in shown
    ]


SHOWN_STEPS = (1, 10, 25, 50, 100)
PARTS = (
    Part(
        "floors",
        "Lower bounds",
        "python benchmarks/floors.py",
        "Each service against the same batches in one process without a service (*alone*, the "
        "in-process reference), a bare gRPC echo and a TCP echo of the same messages; 64x64 "
        "pixels, one thread. *alone beside* is the reference in full batches while a client "
        "runs on the other core.",
        floors,
    ),
    Part(
        "peers",
        "Other servers",
        "python benchmarks/peers/install.py && python benchmarks/peers/compare.py",
        "LitServe, Ray Serve behind its gRPC proxy, and BentoML serve the same network with one "
        "replica on one thread and batches of up to 16, under the same load generator. Throughput "
        "at equal p99 divides our throughput, within the p99 of the other server at its highest "
        "throughput, by that throughput. The share of reference divides a server's throughput by "
        "that of the network without a server on the same core.",
        peers,
        peer_panels,
    ),
    Part(
        "numerics",
        "Numerical choices",
        "python benchmarks/numerics.py",
        "Each option against float32 in PyTorch's default layout, eager, on one thread. An option "
        "pays if its median speed is at least 1.05 and no round is slower.",
        numerics,
    ),
    Part(
        "growth",
        "Growth",
        "python benchmarks/growth.py",
        "Time or memory grows with this power of the input: the slope of the logarithms.",
        growth,
        growth_panels,
    ),
    Part(
        "cost_model",
        "A cost model for GPUs",
        "python benchmarks/cost_model.py",
        "Operations and bytes for one image, counted on tensors without data.",
        cost_model,
    ),
    Part(
        "training",
        "Training",
        "python benchmarks/training_throughput.py data/faces64 results/bench_training.json",
        "DeepJSCC, 64x64 pixels, batch 32: `genjscc train deepjscc` against a plain training loop, "
        "float32 in one process.",
        training,
    ),
    Part(
        "inversion_time",
        "Inversions: quality against time",
        "python benchmarks/inversion_time.py",
        "The preset *paper* (150 steps from the mean latent, float32) and the preset *fast* decode "
        "the same symbols in turns; times are per image. The row of step n shows the image that "
        "step n started from, so the row of step 1 is the initial image. The speed-ups in the "
        "acceptance criteria divide the total time of *paper* by the time that *fast* takes to "
        "reach the same quality.",
        inversion_time,
        inversion_panels,
    ),
    Part(
        "serving_cost",
        "Serving: CPU time at saturation",
        "python benchmarks/serving/cost.py",
        "CPU time of a saturated service against the same batches of 16 in one process without a "
        "service.",
        cost,
    ),
    Part(
        "serving_hop",
        "Serving: latency added by a hop",
        "python benchmarks/serving/hop.py",
        "One image at a time through three services, as measured by the SDK: milliseconds that "
        "each hop adds to its computation.",
        hops,
    ),
    Part(
        "serving_echo",
        "Serving: the channel against an echo",
        "python benchmarks/serving/echo.py",
        "Codewords of 8 KiB. The echo returns the received bytes without parsing them; it is a "
        "lower bound for an asyncio gRPC server.",
        echo,
    ),
    Part(
        "serving_overload",
        "Serving: 5x overload",
        "python benchmarks/serving/overload.py",
        "Calls at five times the capacity of the transmitter, with random inter-arrival times. The "
        "client shares the machine.",
        overload,
    ),
    Part(
        "serving_kill",
        "Serving: replicas killed during a stream",
        "python benchmarks/serving/kill.py",
        "Two replicas of each service; one after the other is killed with SIGKILL and restarted.",
        kills,
    ),
    Part(
        "serving_soak",
        "Serving: an hour of mixed load",
        "python benchmarks/serving/soak.py",
        "Calls and streams of several sizes and rates, including cancelled and invalid ones.",
        soak,
    ),
    Part(
        "serving_reload",
        "Serving: models reloaded under load",
        "python benchmarks/serving/reload.py",
        "Transmitter and receiver load two models again, in turn, while two callers send images.",
        reload,
    ),
)


def criteria(files: dict[str, BenchFile | str]) -> list[str]:
    """Render the criteria of all files, unmet ones first."""
    titles = {part.name: part.title for part in PARTS}
    found = [
        (one, titles[name])
        for name, file in files.items()
        if isinstance(file, BenchFile)
        for one in file.criteria
    ]
    if not found:
        return ["None has been measured yet.\n"]
    met = sum(one.met for one, _ in found)
    rows = [
        [
            one.name,
            value_of(one),
            limit_of(one),
            "met" if one.met else "**not met**",
            title,
            cell(one.note),
        ]
        for one, title in sorted(found, key=lambda pair: pair[0].met)
    ]
    head = ["criterion", "measured", "limit", "", "section", ""]
    return [f"{met} of {len(found)} criteria are met.\n", *table(head, rows)]


def cell(text: str) -> str:
    """Escape arbitrary text, such as an error of another program, for a table cell."""
    return " ".join(text.split()).replace("|", "\\|")


def value_of(one: Criterion) -> str:
    """Format the measured value."""
    return "not measured" if one.value is None else f"{one.value:.2f}"


def limit_of(one: Criterion) -> str:
    """Format the limit."""
    sign, limit = ("≥", one.at_least) if one.at_least is not None else ("≤", one.at_most)
    return f"{sign}{NBSP}{limit:g}"


def section(part: Part, file: BenchFile | str, shown: dict[str, str], images: str) -> list[str]:
    """Render a part with its values, or the command that measures it."""
    lines = [f"## {part.title}\n", paragraph(part.about)]
    if isinstance(file, str):
        return [*lines, f"{file} `{part.command}`.\n"]
    if file.short:
        lines.append("**A short run to check that it works: these are no valid values.**\n")
    content = file.model_dump()
    lines += part.body(content)
    for name, svg in part.plots(content).items():
        shown[name] = svg
        lines.append(f"![{part.title}]({images}/{name})\n")
    lines.append(
        paragraph(
            f"Command: `{file.command}`; {file.cores} cores; {file.seconds / 60:.1f} minutes; "
            f"version {file.version}, commit `{file.commit}`."
        )
    )
    return lines


def load(results: Path) -> dict[str, BenchFile | str]:
    """Read the result files by part; a sentence replaces a missing or invalid file."""
    found: dict[str, BenchFile | str] = {}
    for part in PARTS:
        path = results / f"bench_{part.name}.json"
        if not path.exists():
            found[part.name] = "Not measured yet. Measure it with"
            continue
        try:
            found[part.name] = read(path)
        except InvalidInputError as error:
            found[part.name] = f"`{path.name}` cannot be read ({error}). Write it with"
    return found


def render(results: Path, images: str, remarks: str = "") -> tuple[str, dict[str, str]]:
    """Render the page, and its plots by file name.

    Args:
        results: folder of result files.
        images: folder of the plots, relative to the page.
        remarks: Markdown inserted after the criteria.
    """
    files, shown = load(results), dict[str, str]()
    lines = [INTRODUCTION]
    for part in PARTS:
        lines += section(part, files[part.name], shown, images)
    lines += ["## Acceptance criteria\n", *criteria(files)]
    if remarks:
        lines.append(f"{remarks.strip()}\n")
    return "\n".join(lines).rstrip() + "\n", shown


def main() -> int:
    parser = argparse.ArgumentParser(description="write docs/benchmarks.md from the results")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks.md"))
    arguments = parser.parse_args()
    page, plots = render(arguments.results, "images", REMARKS.read_text())
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
