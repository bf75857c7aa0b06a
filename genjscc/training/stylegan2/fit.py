# SPDX-License-Identifier: Apache-2.0
"""Driver of a StyleGAN2 training: steps, evaluations, logs and checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from lightning_fabric import Fabric

from genjscc.training.distributed import StopOnSignal, any_process
from genjscc.training.stylegan2.config import StyleGAN2Config
from genjscc.training.stylegan2.evaluation import Evaluation
from genjscc.training.stylegan2.training import StyleGAN2Training

# Columns of train.csv; a term that is not yet active is nan.
LOGGED = (
    "mse",
    "st_lpips",
    "correction",
    "adversarial_weight",
    "hinge_real",
    "hinge_fake",
    "distance_rebuilt",
    "distance_samples",
    "critic",
    "latent_distance",
    "images_per_s",
)


class _Rows:
    """Averages of the steps' values, one row of train.csv every `log_every` steps."""

    def __init__(self, training: StyleGAN2Training) -> None:
        self.training = training
        self.sums: dict[str, list[float]] = {}
        self.since, self.images = time.monotonic(), training.images

    def note(self, values: dict[str, float]) -> dict[str, float] | None:
        training = self.training
        for name, value in values.items():
            self.sums.setdefault(name, []).append(value)
        if training.step % training.config.log_every:
            return None
        row = {name: sum(got) / len(got) for name, got in self.sums.items()}
        passed = time.monotonic() - self.since
        row["images_per_s"] = (training.images - self.images) / passed
        row = {name: row.get(name, math.nan) for name in LOGGED}
        if training.fabric.is_global_zero:
            training.run.log("train", training.images, row)
        self.sums.clear()
        self.since, self.images = time.monotonic(), training.images
        return row


def fit(
    config: StyleGAN2Config,
    folder: Path,
    fabric: Fabric,
    report: Callable[[StyleGAN2Training, dict[str, float]], None] = lambda _t, _v: None,
) -> StyleGAN2Training:
    """Train until all images are used or a signal arrives; resume from an existing checkpoint.

    Args:
        config: the run.
        folder: folder of checkpoint, logs, sheets and exported generator. The checkpoint with
            the best FD-EffLite0 is kept as best.pt.
        fabric: launched Fabric, which sets device, precision and processes.
        report: called on every process with each row of the logs.
    """
    training = StyleGAN2Training(config, folder, fabric)
    evaluation = Evaluation(training)
    with StopOnSignal() as stop:
        rows = _Rows(training)
        saved_at = time.monotonic()
        for pixels in training.batches():
            if training.finished or any_process(fabric, stop.asked):
                break
            before = training.images
            row = rows.note(training.train_step(pixels))
            if row is not None:
                report(training, row)
            due = before // config.evaluate_every < training.images // config.evaluate_every
            is_best = False
            if due or training.finished:
                measured = evaluation.run()
                report(training, measured)
                is_best = measured["fd_efflite0"] < training.best
                training.best = min(training.best, measured["fd_efflite0"])
            if due or training.finished or time.monotonic() - saved_at > config.checkpoint_every_s:
                training.save()
                saved_at = time.monotonic()
            if is_best and fabric.is_global_zero:
                training.run.keep_best()
        training.save()
    return training
