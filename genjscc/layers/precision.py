# SPDX-License-Identifier: Apache-2.0
"""Which arithmetic a device is good at: bfloat16 where it is native, float32 elsewhere.

A processor without such instructions computes bfloat16 by conversion, which takes up to ten times
as long as float32. Whoever lets the precision be chosen asks here.
"""

from __future__ import annotations

import logging
import platform
from functools import cache
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16", "auto"]

_X86 = ("x86_64", "amd64", "i686")
_log = logging.getLogger(__name__)


@cache
def has_bfloat16(device_type: str = "cpu") -> bool:
    """Whether devices of a type ("cpu", "cuda") compute bfloat16 without a detour."""
    if device_type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type != "cpu" or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    if platform.machine().lower() not in _X86:
        return True
    # oneDNN says yes to every AVX-512, and converts where bfloat16 is not part of it.
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def arithmetic(precision: Precision, device_type: str) -> torch.dtype:
    """The type that networks compute in; "auto" is bfloat16 where it is native."""
    native = has_bfloat16(device_type)
    if precision == "bfloat16" and not native:
        _log.warning(
            "bfloat16 is not native to this %s and slower than float32; "
            "the precision 'auto' takes it only where it is",
            device_type,
        )
    if precision == "auto":
        return torch.bfloat16 if native else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def training_precision(asked: str, device_type: str) -> str:
    """Fabric's name of a training's precision; "auto" is mixed where bfloat16 is native."""
    if asked != "auto":
        return asked
    return "bf16-mixed" if has_bfloat16(device_type) else "32-true"
