# SPDX-License-Identifier: Apache-2.0
"""Configurations of trainings that take a second, on folders of `photo_folders.write_photos`."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightning_fabric import Fabric

from genjscc.training.config import DeepJSCCConfig, GenerativeJSCCConfig
from genjscc.training.deepjscc import DeepJSCCTraining, fit
from tests.helpers.tiny_bundles import GENERATOR


def tiny_deepjscc(photos: Path, **changes: object) -> DeepJSCCConfig:
    """Six steps on `photos/train`, with two validations on `photos/val`."""
    fields: dict[str, object] = {
        "train": photos / "train",
        "val": photos / "val",
        "image_size": 16,
        "width": 8,
        "symbol_channels": 8,
        "channel_steps": (2, 8),
        "perceptual": None,
        "batch_size": 4,
        "images": 24,
        "learning_rate": 1e-3,
        "schedule": "cosine",
        "ema_decay": 0.9,
        "validate_every": 12,
        "validate_images": 5,
    }
    return DeepJSCCConfig.model_validate({**fields, **changes})


def tiny_generative(photos: Path, **changes: object) -> GenerativeJSCCConfig:
    """Three steps of stage 1 and two of stage 2, around the generator `photos/GENERATOR`."""
    fields: dict[str, object] = {
        "train": photos / "train",
        "val": photos / "val",
        "generator": photos / GENERATOR,
        "width": 8,
        "symbol_channels": 8,
        "perceptual": None,
        "batch_size": 2,
        "stage1_images": 6,
        "stage2_images": 4,
        "learning_rate": 1e-3,
        "schedule": "cosine",
        "ema_decay": 0.9,
        "validate_every": 100,
        "validate_images": 2,
    }
    return GenerativeJSCCConfig.model_validate({**fields, **changes})


def fit_in_two_runs(config: DeepJSCCConfig, folder: Path, step: int) -> DeepJSCCTraining:
    """Train up to a step, save, stop as a crash would, and resume to the end."""

    class StoppedError(Exception):
        pass

    def stop(training: DeepJSCCTraining, _: dict[str, float]) -> None:
        if training.step == step:
            training.save()
            raise StoppedError

    with pytest.raises(StoppedError):
        fit(config, folder, one_process(), stop)
    return fit(config, folder, one_process())


def one_process() -> Fabric:
    """Launch a run in this process alone."""
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    fabric.launch()
    return fabric
