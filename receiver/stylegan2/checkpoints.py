# SPDX-License-Identifier: Apache-2.0
"""Storage of StyleGAN2 generators: bundles, and import of other projects' checkpoints.

A bundle is a folder with `config.json` (sizes, SHA-256), `generator.safetensors` (16-bit floats)
and `card.md`; for a generator trained by GenJSCC also `codes.safetensors`, the map from images to
latents that it was trained to invert. Checkpoints of other projects are read as tensors only; no
pickle is ever executed.
"""

from __future__ import annotations

import argparse
import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from genjscc.bundles.config import GeneratorConfig
from genjscc.bundles.store import (
    CODES,
    CONFIG,
    GENERATOR,
    checked_name,
    read_generator_config,
    read_weights,
    write_declaration,
    write_weights,
)
from genjscc.errors import BundleError
from receiver.stylegan2.generator import Generator

# Rosinality and BasicSR store the averaged generator under these keys; the last is BasicSR's key
# for a generator without an average.
_GENERATOR_KEYS = ("g_ema", "params_ema", "params")
# What rosinality's train.py puts beside the tensors: its options. A namespace runs no code when it
# is filled, and nobody here looks into it.
_HARMLESS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [argparse.Namespace]
_REFUSED = """\
{path} is not a plain tensor file, so it was not loaded: reading it would execute code from it.
NVlabs' network pickles (.pkl) are of this kind. Convert such a file elsewhere, on a machine
where running its code is acceptable: load it with the tool that made it, save
torch.save({{"g_ema": state_dict, "latent_avg": w_avg}}, "generator.pt") with the key names of
rosinality/stylegan2-pytorch (its convert_weight.py does that), and offer the new file."""


def load_generator(path: Path) -> Generator:
    """Load the generator in a bundle folder, a .safetensors file or a PyTorch checkpoint.

    PyTorch checkpoints may be rosinality's (`g_ema`, `latent_avg`; also as its train.py writes
    them), BasicSR's (`params_ema`) or
    a bare state dict with either's names. Returns it in evaluation mode, float32, on the CPU.

    Raises:
        BundleError: the file is missing, damaged, not StyleGAN2, or holds anything but tensors.
    """
    if path.is_dir():
        return load_bundle(path)
    if not path.is_file():
        raise BundleError(f"{path}: no such file or folder")
    if path.suffix == ".safetensors":
        return Generator.from_state_dict(_read_safetensors(path))
    checkpoint = _read_tensors_only(path)
    state: Any = checkpoint
    for key in _GENERATOR_KEYS:
        if isinstance(checkpoint.get(key), Mapping):
            state = checkpoint[key]
            break
    latent_avg = checkpoint.get("latent_avg")
    return Generator.from_state_dict(
        state, latent_avg if isinstance(latent_avg, Tensor) and state is not checkpoint else None
    )


def load_bundle(folder: Path) -> Generator:
    """Load and verify the generator of a bundle folder, as `load_generator` returns it."""
    config = read_generator_config(folder)
    weights = read_weights(folder / GENERATOR, config)
    # Each map of noise has twice the side of the one before: their number is a size.
    maps, expected = sum(name.startswith("noises.") for name in weights), 2 * len(config.widths) - 1
    if maps > expected:
        raise BundleError(f"{folder}: {CONFIG} asks for {expected} maps of noise, got {maps}")
    generator = Generator.from_state_dict(weights)
    for key, found in _sizes(generator).items():
        declared = getattr(config, key)
        if declared != found:
            raise BundleError(f"{folder}: {CONFIG} says {key} {declared}, the weights {found}")
    return generator


def save_bundle(
    generator: Generator,
    folder: Path,
    card: str,
    *,
    codes: nn.Module | None = None,
    dtype: torch.dtype = torch.float16,
) -> GeneratorConfig:
    """Write a generator as a bundle folder and return its declaration.

    Args:
        generator: the generator.
        folder: created; files of the same names are replaced. Its name is the bundle's.
        card: Markdown: training data, measurements, licence.
        codes: the map from images to latents, if there is one.
        dtype: stored precision. float16 keeps 11 significant bits, bfloat16 the full range.

    Raises:
        BundleError: a weight overflows the stored precision.
        InvalidInputError: the folder's name is not a valid bundle name.
    """
    name = checked_name(folder.resolve().name)
    files = {GENERATOR: write_weights(generator, folder / GENERATOR, dtype)}
    if codes is not None:
        files[CODES] = write_weights(codes, folder / CODES, dtype)
    config = GeneratorConfig.model_validate(
        {"name": name, "scheme": "stylegan2", "files": files, **_sizes(generator)}
    )
    write_declaration(folder, config, card)
    return config


def _sizes(generator: Generator) -> dict[str, Any]:
    return {
        "image_size": generator.size,
        "widths": generator.sizes.widths,
        "style_dim": generator.style_dim,
        "mapping_layers": generator.sizes.mapping_layers,
    }


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path}: {error}") from error


def _read_tensors_only(path: Path) -> Mapping[str, Any]:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_HARMLESS):
            # Warnings on the pickle protocol of files that are then refused.
            warnings.simplefilter("ignore", UserWarning)
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BundleError(_REFUSED.format(path=path)) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise BundleError(f"{path} is not a PyTorch checkpoint: {error}") from error
    if not isinstance(found, Mapping):
        raise BundleError(f"{path} holds no state dict but {type(found).__name__}")
    return found
