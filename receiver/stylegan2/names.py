# SPDX-License-Identifier: Apache-2.0
"""Names and sizes of tensors in StyleGAN2 state dicts.

The generator uses the names of the most common PyTorch format (key `g_ema`, written by
rosinality/stylegan2-pytorch). Files of BasicSR (key `params_ema`) contain the same tensors under
other names. All sizes are inferred from the tensors' shapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from genjscc.errors import BundleError

_BASICSR_MARK = "constant_input.weight"
_BASICSR_RULES = (
    (re.compile(r"^style_mlp\."), "style."),
    (re.compile(r"^constant_input\.weight$"), "input.input"),
    (re.compile(r"^style_conv1\."), "conv1."),
    (re.compile(r"^style_convs\."), "convs."),
    (re.compile(r"\.modulated_conv\."), ".conv."),
    (re.compile(r"^(conv1|convs\.\d+)\.weight$"), r"\1.noise.weight"),
    (re.compile(r"^noises\.noise(\d+)$"), r"noises.noise_\1"),
)
_MAPPING_WEIGHT = re.compile(r"^style\.(\d+)\.weight$")
# The resampling filter [1, 3, 3, 1] is a constant of the architecture.
_KERNEL_SUFFIX = ".kernel"
_FILTER = (1.0, 3.0, 3.0, 1.0)


@dataclass(frozen=True)
class GeneratorSizes:
    """Sizes of a generator, inferred from its state dict."""

    widths: tuple[int, ...]
    """channels at 4, 8, 16, ... pixels; the image side is 4 * 2**(len(widths) - 1)"""
    style_dim: int
    mapping_layers: int


def canonical_names(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors to the generator's own names and drop the constant filters.

    Raises:
        BundleError: a resampling filter is not [1, 3, 3, 1], or a value is not a tensor.
    """
    basicsr = _BASICSR_MARK in state_dict
    renamed: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        if not isinstance(value, Tensor):
            raise BundleError(f"generator: {key} is not a tensor but {type(value).__name__}")
        name = key
        if basicsr:
            for pattern, replacement in _BASICSR_RULES:
                name = pattern.sub(replacement, name)
        if name.endswith(_KERNEL_SUFFIX):
            _check_filter(key, value)
            continue
        renamed[name] = value
    return renamed


def infer_sizes(state_dict: Mapping[str, Tensor]) -> GeneratorSizes:
    """Infer the sizes from tensors with canonical names.

    Raises:
        BundleError: the tensors are not those of a StyleGAN2 generator with skips to RGB.
    """
    layers = [int(m[1]) for m in map(_MAPPING_WEIGHT.match, state_dict) if m]
    first = state_dict.get("style.1.weight")
    constant = state_dict.get("input.input")
    if first is None or constant is None or first.dim() != 2 or constant.dim() != 4:
        raise BundleError(
            "no StyleGAN2 generator: expected the keys style.1.weight and input.input "
            "(rosinality's g_ema) or style_mlp.1.weight and constant_input.weight (BasicSR's "
            f"params_ema), found {', '.join(sorted(state_dict)[:4]) or 'nothing'}"
        )
    widths = [constant.shape[1]]
    while (up := state_dict.get(f"convs.{2 * len(widths) - 2}.conv.weight")) is not None:
        if up.dim() != 5:
            raise BundleError(f"no StyleGAN2 generator: a convolution of shape {tuple(up.shape)}")
        widths.append(up.shape[1])
    if len(widths) < 2:
        raise BundleError("no StyleGAN2 generator: it has no convolution above 4x4 pixels")
    return GeneratorSizes(tuple(widths), first.shape[1], max(layers))


def _check_filter(key: str, kernel: Tensor) -> None:
    taps = kernel.new_tensor(_FILTER)
    expected = taps[:, None] * taps[None, :]
    if kernel.shape != expected.shape or not kernel.div(kernel.sum()).allclose(
        expected / expected.sum(), atol=1e-3
    ):
        raise BundleError(f"generator: {key} is not the resampling filter [1, 3, 3, 1]")
