# SPDX-License-Identifier: Apache-2.0
"""Images per second of DeepJSCC training: our trainer against a plain float32 loop.

Both train the same network with the same loss on the same images, in turns, in one run:

    python benchmarks/training_throughput.py data/faces64 results/bench_training.json

The plain loop is what one writes first: one process, all threads, float32, the default memory
layout, Adam as it comes, malloc as it comes. Ours is `genjscc train deepjscc` as the README says
it for the machine: one single-thread process for each core on a CPU, bf16, channels_last.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import torch

from benchmarks.common.estimates import ratio_spread, spread
from benchmarks.common.harness import finish
from genjscc.cli.commands.train import launch
from genjscc.quality.perceptual import mse
from genjscc.training.config import DeepJSCCConfig
from genjscc.training.deepjscc import DeepJSCCTraining, build_pair
from genjscc.training.draws import draw_batch, draw_rate

BATCH = 32
WARM_UP_STEPS = 4
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
}


def config_of(data: Path, width: int, processes: int) -> DeepJSCCConfig:
    """Return the configuration that both sides train."""
    return DeepJSCCConfig(
        train=data / "train",
        val=data / "val",
        width=width,
        symbol_channels=32,
        channel_steps=(2, 8, 32),
        perceptual=None,
        batch_size=BATCH // processes,
        learning_rate=1e-4,
    )


def plain(config: DeepJSCCConfig, steps: int) -> float:
    """Measure images per second of the plain loop."""
    fabric = launch(1, "auto", "32-true", os.cpu_count() or 1)
    pair = build_pair(config).to(fabric.device)
    optimizer = torch.optim.Adam(pair.parameters(), lr=config.learning_rate, betas=config.betas)
    with tempfile.TemporaryDirectory() as folder:
        batches = DeepJSCCTraining(config, Path(folder), fabric).batches()
    started = 0.0
    for step, pixels in enumerate(islice(batches, WARM_UP_STEPS + steps)):
        if step == WARM_UP_STEPS:
            started = time.perf_counter()
        images = pixels.to(fabric.device).float() / 255
        samples = range(step * BATCH, (step + 1) * BATCH)
        draws = draw_batch(config.seed, samples, config.snr_db, config.num_symbols, fabric.device)
        rate = draw_rate(config.seed, step, config.rates)
        loss = mse(pair(images, draws.snr_db, draws.unit_noise, rate), images).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()
    return steps * BATCH / (time.perf_counter() - started)


def ours(config: DeepJSCCConfig, steps: int, processes: int) -> float:
    """Measure images per second of the trainer."""
    fabric = launch(processes, "auto" if torch.cuda.is_available() else "cpu", "auto", 0)
    with tempfile.TemporaryDirectory() as folder:
        training = DeepJSCCTraining(config, Path(folder), fabric)
    started = 0.0
    for step, pixels in enumerate(islice(training.batches(), WARM_UP_STEPS + steps)):
        if step == WARM_UP_STEPS:
            started = time.perf_counter()
        training.train_step(pixels)["loss"].item()
    rate = steps * BATCH / (time.perf_counter() - started)
    if not fabric.is_global_zero:
        sys.exit()
    return rate


def measure(arguments: argparse.Namespace, side: str) -> float:
    """Measure one side in its own process."""
    command = [sys.executable, __file__, str(arguments.data), "-", "--side", side]
    command += ["--width", str(arguments.width), "--steps", str(arguments.steps)]
    environment = dict(os.environ)
    for name in MALLOC:
        environment.pop(name, None)
    if side != "plain":
        environment |= MALLOC
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="folder with train/ and val/")
    parser.add_argument("results", type=Path, help="JSON file to write")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--steps", type=int, default=40, help="timed steps of each turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--side", choices=("plain", "bf16"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    processes = 1 if torch.cuda.is_available() else os.cpu_count() or 1
    if arguments.side == "plain":
        print(plain(config_of(arguments.data, arguments.width, 1), arguments.steps))
        return
    if arguments.side:
        config = config_of(arguments.data, arguments.width, processes)
        print(ours(config, arguments.steps, processes))
        return
    rates: dict[str, list[float]] = {"plain": [], "bf16": []}
    for turn in range(arguments.turns):
        for side, found in rates.items():
            found.append(measure(arguments, side))
            print(f"turn {turn + 1}: {side} {found[-1]:.1f} images/s", file=sys.stderr)
    finish(
        arguments.results,
        short=arguments.turns < 3,
        criteria=[],
        what="DeepJSCC training, images/s, MSE, 64x64 pixels, batch 32",
        width=arguments.width,
        device="cuda" if torch.cuda.is_available() else "cpu",
        processes=processes,
        torch=torch.__version__,
        images_per_s={"plain fp32": spread(rates["plain"]), "ours bf16": spread(rates["bf16"])},
        ratio=ratio_spread(rates["bf16"], rates["plain"]),
    )


if __name__ == "__main__":
    main()
