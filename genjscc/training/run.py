# SPDX-License-Identifier: Apache-2.0
"""A run's folder: checkpoint, CSV and TensorBoard logs, sample sheets."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter


class RunFolder:
    """Written by the first process only; checkpoints are swapped in whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self._board: SummaryWriter | None = None

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    def save(self, state: dict[str, Any]) -> None:
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(self.checkpoint)

    def keep_best(self) -> None:
        """Keeps the last checkpoint as best.pt, whatever becomes of the run."""
        temporary = self.path / "best.tmp"
        shutil.copyfile(self.checkpoint, temporary)
        temporary.replace(self.path / "best.pt")

    def load(self) -> dict[str, Any] | None:
        """The last checkpoint, or None; tensors and plain values only, nothing is executed."""
        if not self.checkpoint.exists():
            return None
        state: dict[str, Any] = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        return state

    def log(self, name: str, step: int, values: dict[str, float]) -> None:
        """Appends a row to NAME.csv and the scalars to TensorBoard."""
        target = self.path / f"{name}.csv"
        fresh = not target.exists()
        with target.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=["images", *values])
            if fresh:
                writer.writeheader()
            writer.writerow({"images": step, **values})
        if self._board is None:
            self._board = SummaryWriter(str(self.path / "tensorboard"))
        for key, value in values.items():
            self._board.add_scalar(f"{name}/{key}", value, step)

    def sheet(self, step: int, rows: list[Tensor]) -> None:
        """A picture of image rows, each [N, 3, S, S] in [0, 1]."""
        grid = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
        pixels = (grid.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        Image.fromarray(np.ascontiguousarray(pixels)).save(self.path / f"sheet_{step:08d}.png")
