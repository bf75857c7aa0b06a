# SPDX-License-Identifier: Apache-2.0
"""Bundles on disk: find, verify, load and write them.

Only safetensors are read, so that no file of a bundle can make a service execute anything.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save_file
from torch import nn

from genjscc.bundles.config import BundleConfig
from genjscc.errors import BundleError

CONFIG, CARD = "config.json", "card.md"
ENCODER, DECODER = "encoder.safetensors", "decoder.safetensors"

_M = TypeVar("_M", bound=nn.Module)

_HINT = "restore the folder from where it came, or name another one with --bundles"


def read_config(folder: Path) -> BundleConfig:
    """The declaration of one bundle.

    Raises:
        BundleError: it is missing, not valid, or not of this folder.
    """
    path = folder / CONFIG
    try:
        config = BundleConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}; {_HINT}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{path}: {where}: {first['msg']}; {_HINT}") from error
    if config.name != folder.name:
        raise BundleError(f"{path}: name is {config.name!r}, the folder's is {folder.name!r}")
    return config


def find_bundles(root: Path) -> dict[str, BundleConfig]:
    """All bundles directly below a folder, by name.

    Raises:
        BundleError: there is none, or one is broken.
    """
    folders = sorted(path.parent for path in root.glob(f"*/{CONFIG}"))
    if not folders:
        raise BundleError(f"no bundle (a folder with {CONFIG}) in {root}; name one with --bundles")
    return {folder.name: read_config(folder) for folder in folders}


def pair_digest(encoder: bytes, decoder: bytes) -> str:
    """The pair's id: 16 hexadecimal digits over both weight files."""
    parts = hashlib.sha256(encoder).digest() + hashlib.sha256(decoder).digest()
    return hashlib.sha256(parts).hexdigest()[:16]


def fill(module: _M, path: Path, config: BundleConfig) -> _M:
    """The module with the weights of a bundle's file, verified: float32, ready for inference.

    Raises:
        BundleError: the file is missing, altered, not safetensors or of another network.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}; {_HINT}") from error
    declared, found = config.files.get(path.name), hashlib.sha256(data).hexdigest()
    if declared != found:
        raise BundleError(f"{path}: SHA-256 is {found}, {CONFIG} says {declared}; {_HINT}")
    try:
        state = {name: tensor.float() for name, tensor in parse_safetensors(data).items()}
        module.load_state_dict(state)
    except (SafetensorError, RuntimeError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise BundleError(f"{path}: {first_line}; {_HINT}") from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise BundleError(f"{path}: a weight is not finite; {_HINT}")
    return module.eval().requires_grad_(False)


def write_bundle(
    root: Path,
    encoder: nn.Module,
    decoder: nn.Module,
    *,
    card: str,
    declared: dict[str, object],
    dtype: torch.dtype = torch.float16,
) -> BundleConfig:
    """Writes a pair as a bundle below `root` and returns its declaration.

    Args:
        root: the folder of bundles.
        encoder: one half.
        decoder: the other.
        card: the text of card.md.
        declared: the fields of `BundleConfig` but pair_id and files, which follow from the
            weights.
        dtype: how weights are stored.
    """
    folder = root / str(declared["name"])
    folder.mkdir(parents=True, exist_ok=True)
    for module, name in ((encoder, ENCODER), (decoder, DECODER)):
        stored = {k: v.detach().to(dtype).contiguous() for k, v in module.state_dict().items()}
        if not all(bool(torch.isfinite(tensor).all()) for tensor in stored.values()):
            raise BundleError(f"{name}: a weight does not fit {dtype}")
        save_file(stored, folder / name)
    halves = {name: (folder / name).read_bytes() for name in (ENCODER, DECODER)}
    fields: dict[str, object] = {
        "pair_id": pair_digest(*halves.values()),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in halves.items()},
        **declared,
    }
    config = BundleConfig.model_validate(fields)
    (folder / CONFIG).write_text(json.dumps(config.model_dump(mode="json"), indent=2) + "\n")
    (folder / CARD).write_text(card)
    return config
