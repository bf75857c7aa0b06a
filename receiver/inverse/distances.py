# SPDX-License-Identifier: Apache-2.0
"""The perceptual networks of inversions: from this machine alone, whatever a request names."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import get_args

import torch

from genjscc.errors import MissingExtraError, UnsupportedError
from genjscc.quality.fast_backward import with_fast_backward
from genjscc.quality.perceptual import FeatureDistance, PerceptualName, perceptual

# Torchvision's files below PyTorch's hub folder; their names end with digits of their SHA-256.
_TRUNKS = {
    "lpips-alex": "alexnet-owt-7be5be79.pth",
    "lpips-vgg": "vgg16-397923af.pth",
    "lpips-squeeze": "squeezenet1_1-b8a52dc0.pth",
}


class Distances:
    """The perceptual distances that a receiver can use.

    In a service all of them are loaded at its start; in a program's own link each at its first
    use. None is fetched from anywhere.

    Args:
        device: where they compute.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        # Requests are checked on several threads, and steps run on another.
        self._lock = threading.Lock()
        self._loaded: dict[str, FeatureDistance] = {}
        self._complete = False

    def load_all(self) -> None:
        """Loads what is here; from now on nothing else is offered."""
        for name in get_args(PerceptualName):
            try:
                self.get(name)
            except UnsupportedError:
                continue
        self._complete = True

    def get(self, name: PerceptualName) -> FeatureDistance:
        """The distance of that name.

        Raises:
            UnsupportedError: it is not here.
        """
        if name in self._loaded:
            return self._loaded[name]
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._load(name)
            return self._loaded[name]

    def _load(self, name: PerceptualName) -> FeatureDistance:
        if self._complete or not _is_here(name):
            there = ", ".join(self._loaded) or "none"
            raise UnsupportedError(
                f"inversion.perceptual: got {name!r}; its network is not on the receiver's "
                f"machine, loaded there: {there}"
            )
        try:
            distance = perceptual(name)
        except MissingExtraError as error:
            raise UnsupportedError(f"inversion.perceptual: {error}") from error
        return with_fast_backward(distance).to(self._device)


def _is_here(name: str) -> bool:
    """Whether a distance needs no file from elsewhere, or has the right one already."""
    if name not in _TRUNKS:
        return True
    path = Path(torch.hub.get_dir()) / "checkpoints" / _TRUNKS[name]
    if not path.is_file():
        return False
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return digest.startswith(path.stem.rpartition("-")[2])
