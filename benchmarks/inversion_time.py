# SPDX-License-Identifier: Apache-2.0
r"""Quality against time of inversions: the paper's run against the fast preset, in one process.

Both find the same images from the same received symbols, batch by batch in turns:

    python benchmarks/inversion_time.py data/faces64/test results/bench_inversion.json \
        --model faces64 --rate 1/192 --snr-db 0 --num 16

Time is that of the receiver's steps (decoding, start network, optimisation), per image of a
batch: wall clock, and of the processor, which other programs on the machine disturb less. After
every few steps the images are kept, and afterwards measured against the originals: PSNR and
ST-LPIPS by two networks, one of which no preset optimises. The speed-up is the time of the
paper's run over the time after which the fast one is as good, for each metric.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genjscc import Inversion, LocalLink, Options
from genjscc.cli.evaluate import choose_models, load_dataset
from genjscc.cli.inversion import inversion_of
from genjscc.cli.origin import origin
from genjscc.client.exchange import decode_request
from genjscc.client.inversion import inversion_to_message
from genjscc.evaluation.metrics import perceptual_metric, psnr
from genjscc.evaluation.statistics import mean_of
from genjscc.settings import ReceiverSettings
from genjscc.v1 import receiver_pb2
from receiver.service import ReceiverRoom

LOWER_IS_BETTER = ("st_lpips_vgg", "st_lpips_alex")
METRICS = ("psnr_db", *LOWER_IS_BETTER)


@dataclass
class Curve:
    """Of one preset: images after so many steps, and the time it took them."""

    images: dict[int, list[Tensor]] = field(default_factory=dict)
    wall: dict[int, list[float]] = field(default_factory=dict)
    cpu: dict[int, list[float]] = field(default_factory=dict)

    def keep(self, step: int, image: Tensor, wall: float, cpu: float) -> None:
        self.images.setdefault(step, []).append(image)
        self.wall.setdefault(step, []).append(wall)
        self.cpu.setdefault(step, []).append(cpu)


def requests_for(
    arguments: argparse.Namespace, images: list[Any]
) -> list[receiver_pb2.DecodeRequest]:
    """What arrives of the images at the receiver."""
    with LocalLink(bundles=arguments.bundles) as link:
        (model,) = choose_models(link.models(), [arguments.model])
        requests = []
        for number, image in enumerate(images):
            options: dict[str, Any] = {
                "snr_db": arguments.snr_db,
                "rate": arguments.rate,
                "model": model.name,
                "seed": arguments.seed + number,
            }
            transmission = link.transmit(link.encode(image, **options), **options)
            requests.append(decode_request(transmission, Options(scheme="inverse", **options)))
        return requests


def with_options(
    request: receiver_pb2.DecodeRequest, inversion: Inversion
) -> receiver_pb2.DecodeRequest:
    """A request with an inversion's options."""
    changed = receiver_pb2.DecodeRequest()
    changed.CopyFrom(request)
    changed.inversion.CopyFrom(inversion_to_message(inversion))
    return changed


def invert(
    room: ReceiverRoom, requests: list[receiver_pb2.DecodeRequest], every: int, curve: Curve
) -> None:
    """One batch to its end; images are kept after every few steps and at the end."""
    courses = [room.begin(room.prepare(request)) for request in requests]
    wall = cpu = 0.0
    while True:
        wall_before, cpu_before = time.perf_counter(), time.process_time()
        reports = room.advance(courses)
        wall += (time.perf_counter() - wall_before) / len(courses)
        cpu += (time.process_time() - cpu_before) / len(courses)
        over = all(report.result is not None for report in reports)
        if over or reports[0].steps_done % every == 0:
            for report in reports:
                image = report.image if report.result is None else report.result.image
                curve.keep(report.steps_done, image, wall, cpu)
        if over:
            return


def measured(curve: Curve, originals: Tensor) -> list[dict[str, Any]]:
    """One point per number of steps."""
    metrics = {name: perceptual_metric(name.replace("_", "-")) for name in LOWER_IS_BETTER}  # type: ignore[arg-type]
    points = []
    for step in sorted(curve.images):
        images = (torch.stack(curve.images[step]) * 255).round() / 255
        values = {"psnr_db": psnr(originals, images).tolist()}
        for name, metric in metrics.items():
            values[name] = [
                float(metric.compare(metric.prepare(x[None]), y[None]))
                for x, y in zip(originals, images, strict=True)
            ]
        point: dict[str, Any] = {"steps": step}
        for name, times in (("wall_s", curve.wall), ("cpu_s", curve.cpu)):
            point[name] = sum(times[step]) / len(times[step])
        point |= {name: mean_of(found).model_dump() for name, found in values.items()}
        points.append(point)
    return points


def time_to_reach(points: list[dict[str, Any]], name: str, goal: float, clock: str) -> float | None:
    """When a curve is as good as `goal` for the first time, between two points by a line."""
    sign = -1 if name in LOWER_IS_BETTER else 1
    before: dict[str, Any] | None = None
    for point in points:
        gap = sign * (point[name]["mean"] - goal)
        if gap >= 0:
            if before is None:
                return float(point[clock])
            missing = sign * (goal - before[name]["mean"])
            part = missing / (missing + gap) if missing + gap else 1.0
            return float(before[clock] + part * (point[clock] - before[clock]))
        before = point
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="folder of test images of the generator's size")
    parser.add_argument("results", type=Path, help="JSON file to write")
    parser.add_argument("--model", required=True)
    parser.add_argument("--rate", default="1/192")
    parser.add_argument("--snr-db", type=float, default=0.0)
    parser.add_argument("--num", type=int, default=16, help="images, evenly spaced")
    parser.add_argument("--batch", type=int, default=4, help="images in one optimisation")
    parser.add_argument("--every", type=int, default=2, help="steps between two points")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bundles", type=Path, default=Path("models"))
    parser.add_argument("--paper", nargs="*", default=["preset=paper"], help="FIELD=VALUE ...")
    parser.add_argument("--fast", nargs="*", default=["preset=fast"], help="FIELD=VALUE ...")
    arguments = parser.parse_args()
    made_by = origin()
    torch.set_num_threads(arguments.threads)
    settings = ReceiverSettings(bundles=arguments.bundles, threads=arguments.threads)
    room = ReceiverRoom(settings)
    dataset = load_dataset(arguments.data, arguments.num, 0, "", "")
    requests = requests_for(arguments, list(dataset.images))
    presets = {
        "paper": inversion_of(arguments.paper) or Inversion(),
        "fast": inversion_of(arguments.fast) or Inversion(),
    }
    curves = {name: Curve() for name in presets}
    for name, inversion in presets.items():  # what is loaded once is not measured
        invert(room, [with_options(one, inversion) for one in requests[:1]], 1000, Curve())
        print(f"{name}: warm", file=sys.stderr)
    starts = range(0, len(requests), arguments.batch)
    for turn, start in enumerate(starts):
        # In turns, each first in every second batch.
        for name in list(presets)[:: 1 if turn % 2 else -1]:
            batch = [
                with_options(one, presets[name])
                for one in requests[start : start + arguments.batch]
            ]
            invert(room, batch, arguments.every, curves[name])
            print(f"batch {turn + 1} of {len(starts)}: {name}", file=sys.stderr)
    originals = torch.stack([torch.from_numpy(i).permute(2, 0, 1) for i in dataset.images])
    points = {name: measured(curve, originals.float() / 255) for name, curve in curves.items()}
    speedup = {}
    for name in METRICS:
        paper = points["paper"][-1]
        for clock in ("wall_s", "cpu_s"):
            reached = time_to_reach(points["fast"], name, paper[name]["mean"], clock)
            speedup[f"{name}, {clock}"] = paper[clock] / reached if reached else None
    content = {
        **made_by,
        "command": shlex.join(["python", *sys.argv]),
        "what": "quality of inversions against the receiver's time per image",
        "dataset": dataset.name,
        "split": dataset.split,
        "n": len(dataset.images),
        "model": arguments.model,
        "bandwidth_ratio": arguments.rate,
        "snr_db": arguments.snr_db,
        "seed": arguments.seed,
        "batch": arguments.batch,
        "threads": arguments.threads,
        "device": settings.device,
        "torch": torch.__version__,
        "options": {"paper": arguments.paper, "fast": arguments.fast},
        "curves": points,
        "speedup": speedup,
    }
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    arguments.results.write_text(json.dumps(content, indent=2) + "\n")
    for name, found in points.items():
        for point in (found[0], found[-1]):
            quality = "  ".join(f"{m} {point[m]['mean']:.3f}" for m in METRICS)
            print(f"{name:6s} {point['steps']:4d} steps  {point['wall_s']:6.2f} s  {quality}")
    for name, ratio in speedup.items():
        print(f"{name}: " + (f"{ratio:.1f} times as fast" if ratio else "not reached"))


if __name__ == "__main__":
    main()
