# SPDX-License-Identifier: Apache-2.0
"""Images for training: any folder of photographs, read in an order that a resume repeats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from genjscc.errors import InvalidInputError
from genjscc.photos import load_square

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


def list_images(folder: Path) -> list[Path]:
    """The images below a folder, sorted.

    Raises:
        InvalidInputError: the folder is missing or holds none.
    """
    if not folder.is_dir():
        raise InvalidInputError("data", f"{folder} is not a folder")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not found:
        raise InvalidInputError("data", f"no image ({', '.join(sorted(SUFFIXES))}) below {folder}")
    return found


class ImageFolder(Dataset[Tensor]):
    """Square images [3, size, size], uint8, in the order of their names."""

    def __init__(self, folder: Path, size: int) -> None:
        self.paths = list_images(folder)
        self.size = size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(load_square(self.paths[index], self.size)).permute(2, 0, 1)


class StepSampler(Sampler[list[int]]):
    """Batches of indices that depend on seed, step and rank alone.

    Every epoch is a new permutation; batch `step` of rank r is the same whether the run came
    here in one go or was resumed, so a killed run goes on exactly.
    """

    def __init__(
        self, length: int, batch_size: int, *, seed: int, first_step: int, rank: int, ranks: int
    ) -> None:
        if length < batch_size * ranks:
            raise InvalidInputError(
                "batch_size",
                f"{batch_size} on each of {ranks} processes is more than the {length} images",
            )
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.first_step, self.rank, self.ranks = first_step, rank, ranks

    def __iter__(self) -> Iterator[list[int]]:
        steps_per_epoch = self.length // (self.batch_size * self.ranks)
        step = self.first_step
        epoch = -1
        while True:
            if epoch != step // steps_per_epoch:
                epoch = step // steps_per_epoch
                order = np.random.default_rng([self.seed, epoch]).permutation(self.length)
            start = ((step % steps_per_epoch) * self.ranks + self.rank) * self.batch_size
            yield order[start : start + self.batch_size].tolist()
            step += 1
