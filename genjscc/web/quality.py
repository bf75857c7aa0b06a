# SPDX-License-Identifier: Apache-2.0
"""Image quality of a reception: the measures that this installation can compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from genjscc.quality.psnr import psnr_db

if TYPE_CHECKING:
    from torch import Tensor

    from genjscc.quality.metrics import Metric

Rgb = NDArray[np.uint8]
Quality = dict[str, str]
"""label of a measure to its value, as people read it"""


@dataclass(frozen=True)
class Measure:
    """A figure for a pair of pictures: its label, what it tells, and where better is."""

    label: str
    meaning: str
    better: str

    @property
    def text(self) -> str:
        """The label with an arrow towards what is better."""
        return f"{self.label} {self.better}"


PSNR = Measure("PSNR", "peak signal-to-noise ratio in dB; higher is better", "↑")
MS_SSIM = Measure("MS-SSIM", "multi-scale structural similarity, 0 to 1; higher is better", "↑")
ST_LPIPS = Measure("ST-LPIPS", "perceptual distance by the VGG network; lower is better", "↓")
_NEEDS = {
    MS_SSIM: ("torch", "torchmetrics"),
    ST_LPIPS: ("torch", "stlpips_pytorch"),
}


def available() -> list[Measure]:
    """Return the measures that this installation can compute."""
    found = [measure for measure, names in _NEEDS.items() if all(find_spec(name) for name in names)]
    return [PSNR, *found]


class Judge:
    """Comparison of receptions with one original, whose features are computed once.

    Args:
        original: uint8 [H, W, 3], at least 11 pixels a side.
    """

    def __init__(self, original: Rgb) -> None:
        self._original = original
        self._compare: list[Callable[[Tensor], tuple[str, float]]] = []
        measures = available()
        if len(measures) > 1:
            self._prepare(measures)

    def _prepare(self, measures: list[Measure]) -> None:
        import torch

        from genjscc.quality.metrics import ms_ssim

        torch.set_num_threads(1)
        reference = _tensor(self._original)
        if MS_SSIM in measures:
            self._compare.append(lambda image: (MS_SSIM.label, float(ms_ssim(reference, image))))
        if ST_LPIPS in measures:
            metric = _st_lpips()
            prepared = metric.prepare(reference)
            self._compare.append(
                lambda image: (ST_LPIPS.label, float(metric.compare(prepared, image)))
            )

    def __call__(self, received: Rgb) -> Quality:
        """Return the measures of a reception with the original's shape."""
        quality = {PSNR.label: f"{psnr_db(self._original, received):.2f} dB"}
        if self._compare:
            image = _tensor(received)
            for compare in self._compare:
                label, value = compare(image)
                quality[label] = f"{value:.3f}"
        return quality


def warm_up() -> None:
    """Loads what the first reception would wait for: PyTorch and the networks."""
    grey: Rgb = np.full((64, 64, 3), 128, np.uint8)
    Judge(grey)(grey)


@cache
def _st_lpips() -> Metric:
    """Load ST-LPIPS once for all visitors."""
    from genjscc.quality.metrics import perceptual_metric

    return perceptual_metric("st-lpips-vgg")


def _tensor(pixels: Rgb) -> Tensor:
    """Convert an image to a tensor [1, 3, H, W] in [0, 1]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None].float() / 255
