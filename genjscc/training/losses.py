# SPDX-License-Identifier: Apache-2.0
"""Distortion terms: MSE on [0, 1] images and perceptual distances, by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from genjscc.errors import MissingExtraError

PerceptualName = Literal[
    "st-lpips-alex", "st-lpips-vgg", "lpips-alex", "lpips-vgg", "lpips-squeeze"
]
PERCEPTUAL_NAMES: tuple[str, ...] = get_args(PerceptualName)


class STLPIPS(nn.Module):
    """Shift-tolerant LPIPS (Ghildyal and Liu, ECCV 2022), with the weights its package ships.

    It is in the range of LPIPS, but it is not LPIPS: figures made with it say "ST-LPIPS".
    """

    def __init__(self, trunk: Literal["alex", "vgg"]) -> None:
        super().__init__()
        try:
            from stlpips_pytorch import stlpips
        except ImportError as error:
            raise MissingExtraError(
                "ST-LPIPS needs stlpips-pytorch: pip install 'genjscc[train]'"
            ) from error
        self.network = stlpips.LPIPS(net=trunk, variant="shift_tolerant", verbose=False)
        self.network.eval().requires_grad_(False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distance of each pair. Shapes: [B, 3, H, W] in [0, 1], twice -> [B]."""
        distance: Tensor = self.network(2 * x - 1, 2 * y - 1)
        return distance.float().flatten()


class LPIPS(nn.Module):
    """LPIPS (Zhang et al., CVPR 2018), the paper's perceptual distance.

    Its trunks are torchvision's ImageNet networks, which are fetched on first use.

    Raises:
        MissingExtraError: lpips is not installed, or the trunk's weights cannot be fetched.
    """

    def __init__(self, trunk: Literal["alex", "vgg", "squeeze"]) -> None:
        super().__init__()
        try:
            import lpips
        except ImportError as error:
            raise MissingExtraError("LPIPS needs lpips: pip install 'genjscc[train]'") from error
        try:
            with warnings.catch_warnings():
                # lpips calls torchvision by its older names.
                warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
                self.network = lpips.LPIPS(net=trunk, verbose=False)
        except OSError as error:
            raise MissingExtraError(
                f"lpips-{trunk}: torchvision's weights cannot be fetched ({error}); copy them to "
                f"{Path(torch.hub.get_dir()) / 'checkpoints'}, or use st-lpips-alex or "
                "st-lpips-vgg, which need no download"
            ) from error
        self.network.eval().requires_grad_(False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distance of each pair. Shapes: [B, 3, H, W] in [0, 1], twice -> [B]."""
        distance: Tensor = self.network(2 * x - 1, 2 * y - 1)
        return distance.float().flatten()


_PERCEPTUAL: dict[str, Callable[[], nn.Module]] = {
    "st-lpips-alex": lambda: STLPIPS("alex"),
    "st-lpips-vgg": lambda: STLPIPS("vgg"),
    "lpips-alex": lambda: LPIPS("alex"),
    "lpips-vgg": lambda: LPIPS("vgg"),
    "lpips-squeeze": lambda: LPIPS("squeeze"),
}


def perceptual(name: PerceptualName) -> nn.Module:
    """The perceptual distance of that name: module(x, y) -> [B], for images in [0, 1]."""
    return _PERCEPTUAL[name]()


def mse(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared error of each image, on the [0, 1] scale. [B, 3, H, W] twice -> [B]."""
    return torch.mean((x.float() - y.float()) ** 2, dim=(1, 2, 3))
