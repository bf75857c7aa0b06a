# SPDX-License-Identifier: Apache-2.0
"""Folder of a run: checkpoint, CSV and TensorBoard logs, sample sheets."""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from genjscc.errors import DivergedError, InvalidInputError

_NEEDED = frozenset({"config", "step", "images"})


def refuse_diverged(values: Iterable[float] | Iterable[Tensor], run: RunFolder, what: str) -> None:
    """Raise DivergedError if a value is not finite."""
    if all(bool(torch.isfinite(torch.as_tensor(value)).all()) for value in values):
        return
    last = run.checkpoint if run.checkpoint.exists() else "none"
    raise DivergedError(
        f"{what} is not finite any more; last good checkpoint: {last}. A smaller learning_rate, "
        "clip_norm or --precision 32-true may help"
    )


class RunFolder:
    """Folder of a run, written by the first process only; checkpoints are replaced atomically."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInputError("run", f"cannot write to {path}: {error.strerror}") from error
        self._board: SummaryWriter | None = None

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    def save(self, state: dict[str, Any]) -> None:
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(self.checkpoint)

    def keep_best(self) -> None:
        """Keep a copy of the last checkpoint as best.pt."""
        temporary = self.path / "best.tmp"
        shutil.copyfile(self.checkpoint, temporary)
        temporary.replace(self.path / "best.pt")

    def load(self) -> dict[str, Any] | None:
        """Load the last checkpoint, or None; it contains only tensors and plain values.

        Raises:
            InvalidInputError: it is damaged, or none of a run.
        """
        if not self.checkpoint.exists():
            return None
        try:
            state: Any = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, UnpicklingError) as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InvalidInputError("run", f"{self.checkpoint} is damaged: {first}") from error
        if not isinstance(state, dict) or not state.keys() >= _NEEDED:
            raise InvalidInputError("run", f"{self.checkpoint} is no checkpoint of a training")
        return state

    def refuse_unwritable(self) -> None:
        """Raise InvalidInputError, before the work begins, if checkpoints cannot be written."""
        try:
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise InvalidInputError(
                "run", f"cannot write to {self.path}: {error.strerror}"
            ) from error

    def refuse_other_course(
        self, state: Mapping[str, Any], *, images_per_step: int, data: str
    ) -> None:
        """Refuse to resume with another batch size or other images.

        The step counts the images and says which come next, so the run would be another one.

        Args:
            state: the checkpoint.
            images_per_step: of all processes.
            data: fingerprint of the training images.

        Raises:
            InvalidInputError: one of the two differs.
        """
        step = state["step"]
        if step and state["images"] != step * images_per_step:
            raise InvalidInputError(
                "batch_size",
                f"got {images_per_step} images a step over all processes; the run in {self.path} "
                f"goes on with {state['images'] // step}, or begin another one from its weights "
                "(initial_bundle)",
            )
        # Runs from before it was kept go on.
        if state.get("data", data) != data:
            raise InvalidInputError(
                "train",
                f"holds other images than the run in {self.path} was begun with; name the same "
                "folder, or begin another one from its weights (initial_bundle)",
            )

    def log(self, name: str, step: int, values: dict[str, float]) -> None:
        """Append a row to NAME.csv and the scalars to TensorBoard."""
        target = self.path / f"{name}.csv"
        fresh = not target.exists()
        with target.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=["images", *values])
            if fresh:
                writer.writeheader()
            writer.writerow({"images": step, **values})
        if self._board is None:
            self._board = SummaryWriter(str(self.path / "tensorboard"))
        for key, value in values.items():
            self._board.add_scalar(f"{name}/{key}", value, step)

    def sheet(self, step: int, rows: list[Tensor]) -> None:
        """Save a picture of image rows, each [N, 3, S, S] in [0, 1]."""
        grid = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
        pixels = (grid.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        Image.fromarray(np.ascontiguousarray(pixels)).save(self.path / f"sheet_{step:08d}.png")
