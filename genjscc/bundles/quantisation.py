# SPDX-License-Identifier: Apache-2.0
"""8-bit storage of weights, half the size of float16; computation stays in float32.

Tensors of two dimensions or more are integers times one scale for each index of the first one,
stored beside them as `NAME:scale`. All else (biases, GDN) stays in float16.
Networks compute with the restored float32 values, in any precision.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SCALE = ":scale"
_LARGEST = 127
# A GDN's matrix is squared before use: its many small entries would become zero.
_GDN = "gamma"


def narrowed(name: str, tensor: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
    """Convert a tensor for storage.

    Args:
        name: key in the file.
        tensor: weights.
        dtype: a floating type, or torch.int8.

    Returns:
        One tensor, or an 8-bit one and its scales.
    """
    if dtype != torch.int8:
        return {name: tensor.to(dtype).contiguous()}
    if tensor.dim() < 2 or name.endswith(_GDN):
        return {name: tensor.half().contiguous()}
    scales = tensor.float().abs().flatten(1).amax(1) / _LARGEST
    integers = (tensor.float() / _beside(scales.clamp(min=1e-30), tensor)).round()
    # A NaN has no integer; its scale has it.
    integers = integers.nan_to_num().clamp(-_LARGEST, _LARGEST).to(torch.int8)
    return {name: integers.contiguous(), f"{name}{_SCALE}": scales}


def restored(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a file in float32.

    Raises:
        ValueError: an 8-bit tensor has no scales, or as many as it cannot have.
    """
    state = {}
    for name, tensor in stored.items():
        if tensor.dtype != torch.int8:
            if not name.endswith(_SCALE):
                state[name] = tensor.float()
            continue
        scales = stored.get(f"{name}{_SCALE}")
        if scales is None or scales.shape != tensor.shape[:1]:
            raise ValueError(f"{name}: its scales are missing or of another shape")
        state[name] = tensor.float() * _beside(scales.float(), tensor)
    return state


def _beside(scales: Tensor, tensor: Tensor) -> Tensor:
    return scales.reshape(-1, *[1] * (tensor.dim() - 1))
