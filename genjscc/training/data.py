# SPDX-License-Identifier: Apache-2.0
"""Training images: any folder of photographs, read in a reproducible order."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from genjscc.errors import InvalidInputError
from genjscc.photos import files_below, load_photo
from genjscc.training.augmentation import Augmentation, augmented, central

_log = logging.getLogger(__name__)
# Decoded images that each process keeps.
_KEPT_BYTES = 1 << 30
# Tells the draws of the augmentation from those of `genjscc.training.draws`.
_AUGMENTATION = 2

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


def list_images(folder: Path) -> list[Path]:
    """Return the images below a folder, sorted; linked folders are followed.

    What macOS leaves beside files on foreign disks (`._photo.png`) has a picture's name and is
    none: it is left out, with a warning.

    Raises:
        InvalidInputError: the folder is missing or holds none.
    """
    if not folder.is_dir():
        raise InvalidInputError("data", f"{folder} is not a folder")
    named = sorted(path for path in files_below(folder) if path.suffix.lower() in SUFFIXES)
    found = [path for path in named if not path.name.startswith("._")]
    if len(found) < len(named):
        first = next(path for path in named if path.name.startswith("._"))
        _log.warning(
            "data: %d files as %s hold no picture; left out", len(named) - len(found), first
        )
    if not found:
        raise InvalidInputError("data", f"no image ({', '.join(sorted(SUFFIXES))}) below {folder}")
    return found


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 of the names of a folder's images, in the order of a run."""
    names = (path.relative_to(folder).as_posix() for path in list_images(folder))
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()


class ImageFolder(Dataset[Tensor]):
    """Square images [3, size, size], uint8, in the order of their names.

    One that cannot be read is left out with a warning; the next one stands in for it.

    Args:
        folder: searched recursively.
        size: side of the squares in pixels.
        augmentation: how they are cut out of the images and changed.
        seed: of the random changes.
    """

    def __init__(
        self, folder: Path, size: int, augmentation: Augmentation | None = None, *, seed: int = 0
    ) -> None:
        self.paths = list_images(folder)
        self.size = size
        self._augmentation = augmentation or Augmentation()
        self._seed = seed
        self._kept: dict[int, NDArray[np.uint8]] = {}
        self._kept_bytes = 0
        self._unreadable: set[int] = set()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: int | tuple[int, int]) -> Tensor:
        """Cut a square of an image, at random if the index comes with a sample's number."""
        index, number = key if isinstance(key, tuple) else (key, None)
        rgb = self._pixels(index)
        if number is None:
            rgb = central(rgb, self.size, self._augmentation)
        else:
            draws = np.random.default_rng([self._seed, number, _AUGMENTATION])
            rgb = augmented(rgb, self.size, self._augmentation, draws)
        return torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)

    def _pixels(self, index: int) -> NDArray[np.uint8]:
        """Return the image, or the next readable one, the same in all processes and runs."""
        why: InvalidInputError | None = None
        for step in range(len(self.paths)):
            number = (index + step) % len(self.paths)
            if number in self._unreadable:
                continue
            try:
                return self._decoded(number)
            except InvalidInputError as error:
                why = error
                self._unreadable.add(number)
                _log.warning("data: %s; left out, number %d of those", error, len(self._unreadable))
        raise InvalidInputError(
            "data", f"none of the {len(self.paths)} images can be read: {why or 'see above'}"
        )

    def _decoded(self, index: int) -> NDArray[np.uint8]:
        """Return the decoded image from a bounded cache: decoding takes longest."""
        if index in self._kept:
            return self._kept[index]
        rgb = load_photo(self.paths[index])
        if self._kept_bytes + rgb.nbytes <= _KEPT_BYTES:
            self._kept[index] = rgb
            self._kept_bytes += rgb.nbytes
        return rgb


class NumberedSampler(Sampler[list[tuple[int, int]]]):
    """Batch sampler that adds each sample's number in the run to its index.

    Args:
        steps: the sampler.
        first_sample: number of its first sample.
        stride: samples from one batch to the next, all processes counted.
    """

    def __init__(self, steps: Sampler[list[int]], *, first_sample: int, stride: int) -> None:
        self._steps, self._first, self._stride = steps, first_sample, stride

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step, indices in enumerate(self._steps):
            first = self._first + step * self._stride
            yield [(index, first + place) for place, index in enumerate(indices)]


class StepSampler(Sampler[list[int]]):
    """Batches of indices that depend only on seed, step and rank.

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
