# SPDX-License-Identifier: Apache-2.0
"""Fetch published bundles, and publish them.

`config.json` is the manifest: it declares the SHA-256 of each weight file. It can be pinned by its
own SHA-256. A bundle appears in its folder at once, after all files have been checked; until then
they lie in a hidden folder beside it, from which a new attempt resumes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from genjscc.bundles.config import BundleConfig, GeneratorConfig
from genjscc.bundles.sources import Folder, HubRepository, Progress, Source
from genjscc.bundles.store import (
    CARD,
    CONFIG,
    DECODER,
    LONGEST_TEXT,
    LONGEST_WEIGHTS,
    bundle_folders,
    companions,
    encoder_sha256,
    is_generator_declaration,
    pair_digest,
    parse_declaration,
    read_config,
    read_generator_config,
)
from genjscc.errors import BundleError, DigestError, DownloadError, InvalidInputError, needs

HUB_CARD = "README.md"
"""name of a model card on the Hub"""


@dataclass(frozen=True)
class Pulled:
    """A bundle in its folder.

    Attributes:
        name: the bundle's name.
        source: where it was published.
        folder: where it is now.
        sha256: digest of its config.json, which pins it.
        fetched: False if it was there already.
    """

    name: str
    source: str
    folder: Path
    sha256: str
    fetched: bool


def _silent(_name: str, _have: int, _total: int) -> None:
    """Report no progress."""


def cache_folder(source: Source) -> Path:
    """Return the folder of bundles in the cache that belongs to a source.

    It is below `$XDG_CACHE_HOME/genjscc/models`; by default, the cache is `~/.cache`.
    """
    cache = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(cache) if Path(cache).is_absolute() else Path.home() / ".cache"
    return root / "genjscc" / "models" / source.key


def cached_or_pulled(source: Source) -> Path:
    """Return a source's folder in the cache; pull it there if it has no pair yet.

    Nothing is asked of the source if it has. Raises as `pull`.
    """
    root = cache_folder(source)
    if not any(not _declares_generator(folder) for folder in bundle_folders(root)):
        pull(source, root)
    return root


def pull(
    source: Source,
    root: Path,
    *,
    sha256: str | None = None,
    replace: bool = False,
    progress: Progress = _silent,
) -> list[Pulled]:
    """Fetch a bundle, and the bundles that it needs, into a folder of bundles.

    Args:
        source: where it is published.
        root: the folder of bundles.
        sha256: of its config.json; None: any.
        replace: whether another bundle of the same name is replaced.
        progress: called as files arrive.

    Returns:
        The bundle, then its generator or the one whose encoder it shares, if there is one.

    Raises:
        DigestError: a file is not the one that the source declares, or another bundle of that
            name is there and must not be replaced.
        BundleError: the declaration is not valid, or a file is too long.
        DownloadError: the source cannot be reached, or lacks a file.
    """
    text, config = _declaration(source)
    found = hashlib.sha256(text).hexdigest()
    if sha256 is not None and found != sha256.strip().lower():
        raise DigestError(f"{source}: SHA-256 of {CONFIG} is {found}; must be {sha256}")
    needed: list[Pulled] = []
    if isinstance(config, BundleConfig):
        _check_pair(source, config)
    for name, file, digest in companions(config):
        beside = source.beside(name)
        if _declaration(beside)[1].files.get(file) != digest:
            raise DigestError(f"{beside}: {file} is not the one that {source} was trained with")
        # First, so that the bundle never lies there without it.
        needed += pull(beside, root, replace=replace, progress=progress)
    folder = root / config.name
    fetched = not _is_there(folder, text, config)
    if fetched:
        if (folder / CONFIG).exists() and (folder / CONFIG).read_bytes() != text and not replace:
            raise DigestError(
                f"{folder} holds another bundle than {source}: SHA-256 of its {CONFIG} is "
                f"{_sha256_of(folder / CONFIG)}, not {found}; --force replaces it"
            )
        _install(source, folder, text, config, progress)
    return [Pulled(config.name, str(source), folder, found, fetched), *needed]


def _declaration(source: Source) -> tuple[bytes, BundleConfig | GeneratorConfig]:
    text = source.read(CONFIG, LONGEST_TEXT)
    if text is None:
        raise DownloadError(f"{source}: there is no {CONFIG}, so no bundle")
    where = f"{source}/{CONFIG}"
    config: BundleConfig | GeneratorConfig
    if is_generator_declaration(text):
        config = parse_declaration(text, GeneratorConfig, where)
    else:
        config = parse_declaration(text, BundleConfig, where)
    if not config.files:
        raise BundleError(f"{where}: files: declares no weights")
    return text, config


def _check_pair(source: Source, config: BundleConfig) -> None:
    digests = (encoder_sha256(config) or "", config.files.get(DECODER, ""))
    if config.pair_id != pair_digest(*digests):
        raise DigestError(f"{source}/{CONFIG}: pair_id: {config.pair_id} is not of these weights")


def _is_there(folder: Path, text: bytes, config: BundleConfig | GeneratorConfig) -> bool:
    declaration = folder / CONFIG
    if not declaration.is_file() or declaration.read_bytes() != text:
        return False
    return all(_sha256_of(folder / name) == digest for name, digest in config.files.items())


def _install(
    source: Source,
    folder: Path,
    text: bytes,
    config: BundleConfig | GeneratorConfig,
    progress: Progress,
) -> None:
    partial = folder.parent / f".{folder.name}.partial"
    partial.mkdir(parents=True, exist_ok=True)
    for name, digest in config.files.items():
        _fetch_checked(source, name, partial / name, digest, progress)
    card = source.read(CARD, LONGEST_TEXT)
    if card is None:
        card = source.read(HUB_CARD, LONGEST_TEXT) or b""
    (partial / CARD).write_bytes(card)
    (partial / CONFIG).write_bytes(text)
    for path in partial.iterdir():  # of an earlier attempt at another version
        if path.name not in {*config.files, CARD, CONFIG}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    old = folder.parent / f".{folder.name}.old"
    if old.is_dir():
        shutil.rmtree(old)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    if old.is_symlink():
        old.unlink()
    elif old.is_dir():
        shutil.rmtree(old)


def _fetch_checked(
    source: Source, name: str, target: Path, digest: str, progress: Progress
) -> None:
    """Complete a file, which may be there in part or in whole, and check it."""
    if _sha256_of(target) == digest:
        return
    # Its digest in the name: what was begun of another version is not continued.
    part = target.with_name(f"{name}.{digest[:16]}.part")
    resumed = part.exists()
    source.fetch(name, part, most=LONGEST_WEIGHTS, progress=progress)
    if resumed and _sha256_of(part) != digest:
        part.unlink()
        source.fetch(name, part, most=LONGEST_WEIGHTS, progress=progress)
    found = _sha256_of(part)
    if found != digest:
        part.unlink()
        raise DigestError(f"{source}/{name}: SHA-256 is {found}, {CONFIG} says {digest}")
    part.chmod(0o644)
    part.replace(target)


def _sha256_of(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def push(
    folder: Path, target: Source, *, replace: bool = False, private: bool = False
) -> list[Pulled]:
    """Publish a bundle, and the bundles that it needs.

    Args:
        folder: of the bundle.
        target: a repository of the Hub, created if it is not there; or a folder of bundles, such
            as the root of a mirror.
        replace: whether another bundle of the same name in a folder is replaced.
        private: whether a new repository is private.

    Raises:
        InvalidInputError: the target is a URL.
        DigestError: a file is altered, or another bundle of that name is there.
        DownloadError: the Hub refuses it or cannot be reached.
    """
    if isinstance(target, Folder):
        return pull(Folder(folder), target.path, replace=replace)
    if not isinstance(target, HubRepository):
        raise InvalidInputError(
            "target", f"got {target}; must be ORG/NAME or a folder, which any web server can offer"
        )
    return _push_to_hub(folder, target, private)


def _push_to_hub(folder: Path, target: HubRepository, private: bool) -> list[Pulled]:
    text = (folder / CONFIG).read_bytes() if (folder / CONFIG).is_file() else b""
    config = read_generator_config(folder) if _declares_generator(folder) else read_config(folder)
    for name, digest in config.files.items():
        found = _sha256_of(folder / name)
        if found != digest:
            raise DigestError(f"{folder / name}: SHA-256 is {found}, {CONFIG} says {digest}")
    pushed: list[Pulled] = []
    for name, _, _ in companions(config):
        pushed += _push_to_hub(folder.resolve().parent / name, target.beside(name), private)
    with needs("hub", "the Hugging Face Hub"):
        from huggingface_hub import CommitOperationAdd, HfApi
        from huggingface_hub.errors import HTTPError as HubError  # type: ignore[attr-defined]
    content: dict[str, bytes | str] = {CONFIG: text, HUB_CARD: _hub_card(folder).encode()}
    content |= {name: str(folder / name) for name in config.files}
    if (folder / CARD).is_file():
        content[CARD] = (folder / CARD).read_bytes()
    try:
        api = HfApi()
        api.create_repo(target.repository, private=private, exist_ok=True)
        api.create_commit(
            target.repository,
            [CommitOperationAdd(name, data) for name, data in content.items()],
            commit_message=f"Publish {config.name}",
            revision=target.revision,
        )
    except (HubError, ValueError, OSError) as error:
        raise DownloadError(f"{target}: {str(error).strip().splitlines()[0]}") from error
    digest = hashlib.sha256(text).hexdigest()
    return [Pulled(config.name, str(target), folder, digest, True), *pushed]


def _hub_card(folder: Path) -> str:
    """Return the model card with the Hub's head: licence as the card has it, and a tag."""
    head = (
        "---\nlicense: other\nlibrary_name: genjscc\ntags:\n- joint-source-channel-coding\n---\n\n"
    )
    card = folder / CARD
    return head + (card.read_text(encoding="utf-8") if card.is_file() else f"# {folder.name}\n")


def _declares_generator(folder: Path) -> bool:
    return is_generator_declaration((folder / CONFIG).read_bytes())
