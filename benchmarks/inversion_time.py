# SPDX-License-Identifier: Apache-2.0
"""Quality over time of inversions: the paper's preset against the fast preset, in one process.

    python benchmarks/inversion_time.py [--short]

Both find the same images from the same received symbols, batch by batch in turns. Time is that of
the receiver's steps (decoding, start network, optimisation), per image of a batch: wall clock, and
of the processor, which other programs on the machine disturb less. After every few steps the images
are kept, and afterwards measured against the originals: PSNR and ST-LPIPS by two networks, one of
which no step sees; the start network learned with both. The speed-up is the time of the paper's run
over the time after which the fast one is as good, for each metric.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common.harness import criterion, finish, parser
from genjscc import InversionOptions, LocalLink, Options
from genjscc.cli.inversion_options import inversion_of
from genjscc.cli.measuring import load_dataset
from genjscc.cli.model_choice import choose_models
from genjscc.client.inversion import inversion_to_message
from genjscc.client.protocol import decode_request
from genjscc.quality.metrics import PERCEPTUAL_FIELDS, Metric, perceptual_metric, psnr
from genjscc.quality.statistics import mean_of
from genjscc.serving.settings import ReceiverSettings
from genjscc.v1 import receiver_pb2
from receiver.service import ReceiverEngine

LOWER_IS_BETTER = ("st_lpips_vgg", "st_lpips_alex")
METRICS = ("psnr_db", *LOWER_IS_BETTER)
TIMES_AS_FAST = 5.0
SHORT_STEPS = {"paper": "steps=2,2,1,1", "fast": "steps=2,1"}


@dataclass
class Curve:
    """Images of one preset after different numbers of steps, and the time."""

    images: dict[int, list[Tensor]] = field(default_factory=dict)
    wall: dict[int, list[float]] = field(default_factory=dict)
    cpu: dict[int, list[float]] = field(default_factory=dict)

    def keep(self, step: int, image: Tensor, wall: float, cpu: float) -> None:
        self.images.setdefault(step, []).append(image)
        self.wall.setdefault(step, []).append(wall)
        self.cpu.setdefault(step, []).append(cpu)


def requests_for(
    arguments: argparse.Namespace, name: str, images: Sequence[Any]
) -> list[receiver_pb2.DecodeRequest]:
    """Return the receiver's requests for images sent by a pair."""
    with LocalLink(bundles=arguments.bundles) as link:
        (model,) = choose_models(link.models(), [name])
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
    request: receiver_pb2.DecodeRequest, inversion: InversionOptions
) -> receiver_pb2.DecodeRequest:
    """Return a request with an inversion's options."""
    changed = receiver_pb2.DecodeRequest()
    changed.CopyFrom(request)
    changed.inversion.CopyFrom(inversion_to_message(inversion))
    return changed


def invert(
    engine: ReceiverEngine, requests: list[receiver_pb2.DecodeRequest], every: int, curve: Curve
) -> None:
    """Run one batch to its end; keep images after the first, every few, and the last step."""
    courses = [engine.begin(engine.prepare(request)) for request in requests]
    wall = cpu = 0.0
    while True:
        wall_before, cpu_before = time.perf_counter(), time.process_time()
        reports = engine.advance(courses)
        wall += (time.perf_counter() - wall_before) / len(courses)
        cpu += (time.process_time() - cpu_before) / len(courses)
        step = reports[0].steps_done
        over = all(report.result is not None for report in reports)
        if over or step == 1 or step % every == 0:
            for report in reports:
                curve.keep(report.steps_done, report.image, wall, cpu)
        if over:
            return


def measured(curve: Curve, originals: Tensor, metrics: dict[str, Metric]) -> list[dict[str, Any]]:
    """Measure one point per number of steps."""
    points = []
    for step in sorted(curve.images):
        images = (torch.stack(curve.images[step]) * 255).round() / 255
        values = {"psnr_db": psnr(originals, images).tolist()}
        for name, metric in metrics.items():
            values[name] = metric.compare(metric.prepare(originals), images).tolist()
        point: dict[str, Any] = {"steps": step}
        for name, times in (("wall_s", curve.wall), ("cpu_s", curve.cpu)):
            point[name] = sum(times[step]) / len(times[step])
        point |= {name: mean_of(found).model_dump() for name, found in values.items()}
        points.append(point)
    return points


def time_to_reach(points: list[dict[str, Any]], name: str, goal: float, clock: str) -> float | None:
    """Return the time at which a curve first reaches `goal`, interpolated between two points."""
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


def measure(
    arguments: argparse.Namespace, engine: ReceiverEngine, model: str, images: Sequence[Any]
) -> dict[str, Any]:
    """Measure both presets on images sent by one pair."""
    requests = requests_for(arguments, model, images)
    presets = {
        name: inversion_of(pairs) or InversionOptions() for name, pairs in options(arguments)
    }
    curves = {name: Curve() for name in presets}
    for inversion in presets.values():  # what is loaded once is not measured
        warm = [engine.begin(engine.prepare(with_options(requests[0], inversion)))]
        engine.advance(warm)
    starts = range(0, len(requests), arguments.batch)
    for turn, start in enumerate(starts):
        # In turns, each first in every second batch.
        for name in list(presets)[:: 1 if turn % 2 else -1]:
            batch = [
                with_options(one, presets[name])
                for one in requests[start : start + arguments.batch]
            ]
            invert(engine, batch, arguments.every, curves[name])
            print(f"{model}, batch {turn + 1} of {len(starts)}: {name}", file=sys.stderr)
    originals = torch.stack([torch.from_numpy(i).permute(2, 0, 1) for i in images]).float() / 255
    metrics = {name: perceptual_metric(PERCEPTUAL_FIELDS[name]) for name in LOWER_IS_BETTER}
    points = {name: measured(curve, originals, metrics) for name, curve in curves.items()}
    times: dict[str, dict[str, float | None]] = {name: {} for name in METRICS}
    for name in METRICS:
        paper = points["paper"][-1]
        for clock in ("wall_s", "cpu_s"):
            reached = time_to_reach(points["fast"], name, paper[name]["mean"], clock)
            times[name][clock] = paper[clock] / reached if reached else None
    return {"curves": points, "times_as_fast": times}


def options(arguments: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """Return the FIELD=VALUE options of both sides."""
    pairs = [("paper", arguments.paper), ("fast", arguments.fast)]
    if arguments.short:
        return [(name, [*given, SHORT_STEPS[name]]) for name, given in pairs]
    return pairs


def main() -> int:
    made = parser("quality of inversions against time", "bench_inversion_time.json")
    made.add_argument("--data", type=Path, default=Path("data/faces64/test"), help="of its size")
    made.add_argument("--model", nargs="*", default=["faces64", "natural64"], help="pairs")
    made.add_argument("--rate", default="1/192")
    made.add_argument("--snr-db", type=float, default=0.0)
    made.add_argument("--num", type=int, default=16, help="images, evenly spaced")
    made.add_argument("--batch", type=int, default=4, help="images in one optimisation")
    made.add_argument("--every", type=int, default=5, help="steps between two points")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--bundles", type=Path, default=Path("models"))
    made.add_argument("--paper", nargs="*", default=["preset=paper"], help="FIELD=VALUE ...")
    made.add_argument("--fast", nargs="*", default=["preset=fast"], help="FIELD=VALUE ...")
    arguments = made.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = ReceiverSettings(bundles=arguments.bundles, threads=arguments.threads)
    engine = ReceiverEngine(settings)
    dataset = load_dataset(arguments.data, 2 if arguments.short else arguments.num, 0, "", "")
    found = {name: measure(arguments, engine, name, dataset.images) for name in arguments.model}
    criteria = [
        criterion(
            f"inversion, {model}: times as fast to the paper's run's {metric}",
            one["times_as_fast"][metric]["wall_s"],
            TIMES_AS_FAST,
            at_most=False,
        )
        for model, one in found.items()
        for metric in METRICS
    ]
    return finish(
        arguments.output,
        short=arguments.short,
        criteria=criteria,
        dataset=dataset.name,
        split=dataset.split,
        n=len(dataset.images),
        bandwidth_ratio=arguments.rate,
        snr_db=arguments.snr_db,
        seed=arguments.seed,
        batch=arguments.batch,
        threads=arguments.threads,
        device=settings.device,
        torch=torch.__version__,
        options=dict(options(arguments)),
        models=found,
    )


if __name__ == "__main__":
    sys.exit(main())
