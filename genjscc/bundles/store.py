# SPDX-License-Identifier: Apache-2.0
"""Bundles on disk: find, verify, load and write them.

Only safetensors are read, so that no file of a bundle can make a service execute anything.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save_file
from torch import Tensor, nn

from genjscc.bundles.config import NAME_PATTERN, BundleConfig, GeneratorConfig, SharedEncoder
from genjscc.bundles.quantisation import narrowed, restored
from genjscc.errors import BundleError, DigestError, InvalidInputError, first_problem, quoted

CONFIG, CARD = "config.json", "card.md"
ENCODER, DECODER = "encoder.safetensors", "decoder.safetensors"
GENERATOR, CODES = "generator.safetensors", "codes.safetensors"

_M = TypeVar("_M", bound=nn.Module)
_C = TypeVar("_C", BundleConfig, GeneratorConfig)

LONGEST_TEXT, LONGEST_WEIGHTS = 1024 * 1024, 4 * 1024**3
_HINT = "restore the folder from where it came, or name another one with --bundles"


def read_config(folder: Path) -> BundleConfig:
    """Read and check the declaration of a pair.

    Raises:
        BundleError: it is missing, not valid, or not of this folder.
    """
    return _read_declaration(folder, BundleConfig)


def read_generator_config(folder: Path) -> GeneratorConfig:
    """Read and check the declaration of a generator. Raises as `read_config`."""
    return _read_declaration(folder, GeneratorConfig)


def _read_declaration(folder: Path, kind: type[_C]) -> _C:
    path = folder / CONFIG
    config = parse_declaration(_read(path, LONGEST_TEXT), kind, path)
    if config.name != folder.name:
        raise BundleError(f"{path}: name is {config.name!r}, the folder's is {folder.name!r}")
    return config


def parse_declaration(text: bytes, kind: type[_C], where: object) -> _C:
    """A declaration from its JSON text. Raises BundleError, which names `where`."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise BundleError(f"{where}: {first_problem(error)}; {_HINT}") from error


def is_generator_declaration(text: bytes) -> bool:
    """Whether a JSON text declares a generator; what is wrong with it does not matter here."""
    try:
        declared = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(declared, dict) and declared.get("scheme") == "stylegan2"


def _read(path: Path, most: int) -> bytes:
    """Read a file. Raises BundleError if it is not an ordinary file, too long or unreadable."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for somebody to write
            raise BundleError(f"{path}: is not a regular file; {_HINT}")
        if status.st_size > most:
            raise BundleError(f"{path}: got {status.st_size} bytes; must be at most {most}")
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}; {_HINT}") from error


def checked_name(name: str) -> str:
    """Check the name of a new bundle. Raises InvalidInputError."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise InvalidInputError(
            "name", f"got {quoted(name)}; a bundle's is 1 to 63 of a-z, 0-9, '.', '_' and '-'"
        )
    return name


def find_bundles(
    root: Path, leave_out: Callable[[str, BundleError], None] | None = None
) -> dict[str, BundleConfig]:
    """Find all pairs directly below a folder, by name; generators are not listed.

    Args:
        root: the folder.
        leave_out: told the names of broken ones, and why; None: one is enough to raise.

    Raises:
        BundleError: there is none, or one is broken.
    """
    folders = [folder for folder in bundle_folders(root) if not _is_generator(folder)]
    if not folders:
        raise BundleError(f"no bundle (a folder with {CONFIG}) in {root}; name one with --bundles")
    found: dict[str, BundleConfig] = {}
    for folder in folders:
        try:
            found[folder.name] = read_config(folder)
        except BundleError as error:
            if leave_out is None:
                raise
            leave_out(folder.name, error)
    return found


def find_generators(root: Path) -> list[str]:
    """Return the names of the generators directly below a folder, sorted."""
    return [folder.name for folder in bundle_folders(root) if _is_generator(folder)]


def bundle_folders(root: Path) -> list[Path]:
    """Return the folders of bundles directly below a folder, sorted; hidden ones are left out."""
    folders = sorted(path.parent for path in root.glob(f"*/{CONFIG}"))
    return [folder for folder in folders if not folder.name.startswith(".")]


def _is_generator(folder: Path) -> bool:
    try:
        return is_generator_declaration(_read(folder / CONFIG, LONGEST_TEXT))
    except BundleError:
        return False


def pair_digest(encoder_sha256: str, decoder_sha256: str) -> str:
    """Return the pair's id, 16 hexadecimal digits, from the SHA-256 of both weight files."""
    return hashlib.sha256(bytes.fromhex(encoder_sha256 + decoder_sha256)).hexdigest()[:16]


def encoder_file(root: Path, config: BundleConfig) -> Path:
    """Return the encoder's weight file: in the bundle's own folder or in the one it shares with."""
    shared = config.shared_encoder
    return root / (shared.bundle if shared else config.name) / ENCODER


def encoder_sha256(config: BundleConfig) -> str | None:
    """Return the digest of the encoder's weight file, own or shared; None: undeclared."""
    shared = config.shared_encoder
    return shared.sha256 if shared else config.files.get(ENCODER)


def companions(config: BundleConfig | GeneratorConfig) -> list[tuple[str, str, str]]:
    """Return the other bundles that a bundle needs: name, weight file and its SHA-256."""
    needed = []
    if isinstance(config, BundleConfig):
        if config.generative is not None:
            part = config.generative
            needed.append((part.generator, GENERATOR, part.generator_sha256))
        if config.shared_encoder is not None:
            shared = config.shared_encoder
            needed.append((shared.bundle, ENCODER, shared.sha256))
    return needed


def weight_files(root: Path, config: BundleConfig | GeneratorConfig) -> list[Path]:
    """Return the weight files of a bundle, the encoder that it shares included."""
    own = [root / config.name / name for name in config.files]
    if isinstance(config, BundleConfig) and config.shared_encoder:
        own.append(encoder_file(root, config))
    return own


def _declared_sha256(path: Path, config: BundleConfig | GeneratorConfig) -> str | None:
    if isinstance(config, BundleConfig) and path.name == ENCODER:
        return encoder_sha256(config)
    return config.files.get(path.name)


def read_weights(path: Path, config: BundleConfig | GeneratorConfig) -> dict[str, Tensor]:
    """Read and verify the tensors of a bundle's file, as float32.

    Raises:
        DigestError: the file is altered.
        BundleError: the file is missing, not safetensors or holds NaN or infinity.
    """
    data = _read(path, LONGEST_WEIGHTS)
    declared, found = _declared_sha256(path, config), hashlib.sha256(data).hexdigest()
    if declared != found:
        raise DigestError(
            f"{path}: SHA-256 is {found}, {CONFIG} of {config.name} says {declared}; {_HINT}"
        )
    try:
        state = restored(parse_safetensors(data))
    except (SafetensorError, ValueError) as error:
        raise BundleError(f"{path}: {error}; {_HINT}") from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise BundleError(f"{path}: a weight is not finite; {_HINT}")
    return state


def build(make: Callable[[], _M], path: Path, config: BundleConfig) -> _M:
    """Build the declared module and load its weights, if their sizes match the declaration.

    Args:
        make: makes the module; called once for its sizes alone, without memory for numbers.
        path: of the weights.
        config: the bundle's declaration.

    Raises:
        BundleError: as `read_weights`, or the weights are of another network.
    """
    weights = read_weights(path, config)
    with torch.device("meta"):
        asked = make().state_dict()
    for name, tensor in asked.items():
        found = weights.get(name)
        if found is None or found.shape != tensor.shape:
            there = "nothing" if found is None else f"{list(found.shape)}"
            raise BundleError(
                f"{path}: size mismatch: {CONFIG} asks for {name} {list(tensor.shape)}, got "
                f"{there}; {_HINT}"
            )
    return _filled(make(), weights, path)


def _filled(module: _M, weights: dict[str, Tensor], path: Path) -> _M:
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        first_line = str(error).strip().splitlines()[0]
        raise BundleError(f"{path}: {first_line}; {_HINT}") from error
    return module.eval().requires_grad_(False)


def write_weights(module: nn.Module, path: Path, dtype: torch.dtype) -> str:
    """Store a module's tensors as safetensors in a narrower type; return the SHA-256.

    Args:
        module: any.
        path: file to write.
        dtype: a floating type, or torch.int8 (`genjscc.bundles.quantisation`).

    Raises:
        BundleError: a value does not fit into the type.
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in module.state_dict().items():
        stored |= narrowed(name, tensor.detach().cpu(), dtype)
    for name, tensor in stored.items():
        if not bool(torch.isfinite(tensor).all()):
            raise BundleError(f"{path.name}: {name} does not fit into {tensor.dtype}")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(stored, path)
    # safetensors makes files that their owner alone may read; a service runs as another user.
    path.chmod(0o644)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_declaration(folder: Path, config: BundleConfig | GeneratorConfig, card: str) -> None:
    """Write config.json and card.md."""
    (folder / CONFIG).write_text(
        json.dumps(config.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8"
    )
    (folder / CARD).write_text(card, encoding="utf-8")


def write_bundle(
    root: Path,
    encoder: nn.Module | SharedEncoder,
    decoder: nn.Module,
    *,
    card: str,
    declared: dict[str, object],
    dtype: torch.dtype = torch.float16,
) -> BundleConfig:
    """Write a pair as a bundle below `root` and return its declaration.

    Args:
        root: the folder of bundles.
        encoder: one half, or the other bundle's that the decoder was trained for.
        decoder: the other.
        card: the text of card.md.
        declared: the fields of `BundleConfig` but pair_id, shared_encoder and files, which follow
            from the weights.
        dtype: how weights are stored.
    """
    folder = root / checked_name(str(declared["name"]))
    files = {DECODER: write_weights(decoder, folder / DECODER, dtype)}
    fields: dict[str, object] = {}
    if isinstance(encoder, SharedEncoder):
        sha256 = encoder.sha256
        fields["shared_encoder"] = encoder
    else:
        sha256 = write_weights(encoder, folder / ENCODER, dtype)
        files = {ENCODER: sha256, **files}
    fields |= {"pair_id": pair_digest(sha256, files[DECODER]), "files": files, **declared}
    config = BundleConfig.model_validate(fields)
    write_declaration(folder, config, card)
    return config
