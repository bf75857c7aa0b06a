# SPDX-License-Identifier: Apache-2.0
"""StyleGAN2 generators on disk: other projects' checkpoints in, our bundle in and out.

A bundle is a folder with `config.json` (sizes), `generator.safetensors` (16-bit floats) and
`card.md`. Checkpoints of other projects are read as tensors only; no pickle is ever executed.
"""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from genjscc.errors import BundleError
from receiver.stylegan2 import Generator

SCHEME = "stylegan2"
CONFIG_FILE, WEIGHTS_FILE, CARD_FILE = "config.json", "generator.safetensors", "card.md"
# Rosinality and BasicSR keep the averaged generator under these keys; the last is BasicSR's
# name when no average was kept.
_GENERATOR_KEYS = ("g_ema", "params_ema", "params")
_REFUSED = """\
{path} is not a plain tensor file, so it was not loaded: reading it would execute code from it.
NVlabs' network pickles (.pkl) are of this kind. Convert such a file elsewhere, on a machine
where running its code is acceptable: load it with the tool that made it, save
torch.save({{"g_ema": state_dict, "latent_avg": w_avg}}, "generator.pt") with the key names of
rosinality/stylegan2-pytorch (its convert_weight.py does that), and offer the new file."""


def load_generator(path: Path) -> Generator:
    """The generator in a bundle folder, a .safetensors file or a PyTorch checkpoint.

    PyTorch checkpoints may be rosinality's (`g_ema`, `latent_avg`), BasicSR's (`params_ema`) or
    a bare state dict with either's names. Returns it in evaluation mode, float32, on the CPU.

    Raises:
        BundleError: the file is missing, damaged, not StyleGAN2, or holds anything but tensors.
    """
    if path.is_dir():
        return _load_bundle(path)
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


def save_bundle(
    generator: Generator, folder: Path, card: str, *, dtype: torch.dtype = torch.float16
) -> None:
    """Writes a generator as a bundle folder.

    Args:
        generator: what to store.
        folder: created; files of the same names are replaced.
        card: Markdown: training data, measurements, terms.
        dtype: stored precision. float16 keeps 11 significant bits, bfloat16 the full range.

    Raises:
        BundleError: a weight does not fit into the stored precision.
    """
    tensors = {
        k: v.detach().to("cpu", dtype).contiguous() for k, v in generator.state_dict().items()
    }
    overflown = [k for k, v in tensors.items() if not v.isfinite().all()]
    if overflown:
        raise BundleError(f"{overflown[0]} holds values that are not finite in {dtype}")
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS_FILE)
    config = bundle_config(generator)
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
    (folder / CARD_FILE).write_text(card)


def bundle_config(generator: Generator) -> dict[str, Any]:
    """What a generator bundle's config.json declares."""
    return {
        "scheme": SCHEME,
        "image_size": generator.size,
        "widths": list(generator.sizes.widths),
        "style_dim": generator.style_dim,
        "mapping_layers": generator.sizes.mapping_layers,
    }


def _load_bundle(folder: Path) -> Generator:
    try:
        declared = json.loads((folder / CONFIG_FILE).read_text())
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder / CONFIG_FILE}: {error}") from error
    if not isinstance(declared, dict) or declared.get("scheme") != SCHEME:
        raise BundleError(f"{folder / CONFIG_FILE} does not declare the scheme {SCHEME}")
    generator = Generator.from_state_dict(_read_safetensors(folder / WEIGHTS_FILE))
    for key, found in bundle_config(generator).items():
        if declared.get(key) != found:
            raise BundleError(
                f"{folder}: {CONFIG_FILE} says {key} {declared.get(key)}, the weights {found}"
            )
    return generator


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path}: {error}") from error


def _read_tensors_only(path: Path) -> Mapping[str, Any]:
    try:
        with warnings.catch_warnings():
            # On the pickle protocol of files that are then refused.
            warnings.simplefilter("ignore", UserWarning)
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BundleError(_REFUSED.format(path=path)) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise BundleError(f"{path} is not a PyTorch checkpoint: {error}") from error
    if not isinstance(found, Mapping):
        raise BundleError(f"{path} holds no state dict but {type(found).__name__}")
    return found
