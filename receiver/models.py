# SPDX-License-Identifier: Apache-2.0
"""Decoders and generators of the bundles in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from genjscc.bundles.config import BundleConfig, GenerativePart
from genjscc.bundles.store import DECODER, GENERATOR, build, read_generator_config
from genjscc.errors import BundleError
from receiver.deepjscc import Decoder
from receiver.generative import GenerativeDecoder, LatentDecoder
from receiver.stylegan2.checkpoints import load_bundle
from receiver.stylegan2.generator import Generator


class Generators:
    """Generators of a folder, each loaded once.

    They are frozen: all pairs and inversions share them.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._loaded: dict[str, Generator] = {}

    def load(self, name: str, sha256: str | None = None) -> Generator:
        """Load and verify a generator by name; in evaluation mode, float32.

        Args:
            name: of the bundle.
            sha256: of the weights that the caller was trained with; None: any.

        Raises:
            BundleError: it is missing, broken, or another one than `sha256` says.
        """
        folder = self._root / name
        found = read_generator_config(folder).files.get(GENERATOR)
        if sha256 is not None and found != sha256:
            raise BundleError(
                f"{folder}: holds the generator with SHA-256 {found}, needed is {sha256}; "
                "restore the one that the pair was trained with"
            )
        if name not in self._loaded:
            self._loaded[name] = load_bundle(folder).requires_grad_(False)
        return self._loaded[name]


def load_decoder(
    root: Path, config: BundleConfig, generators: Generators | None = None
) -> nn.Module:
    """Load the decoder of a bundle, ready for inference.

    Args:
        root: the folder of bundles.
        config: which of them.
        generators: of that folder, to share them among decoders.

    Returns:
        `receiver.deepjscc.Decoder` or, for the scheme generative,
        `receiver.generative.GenerativeDecoder`; both map symbols [B, k], SNRs [B] and the size
        to images.

    Raises:
        BundleError: its file or its generator is missing, altered or of another network.
    """
    return _LOADERS[config.scheme](root, config, generators or Generators(root))


def load_deepjscc(root: Path, config: BundleConfig) -> Decoder:
    """Load a decoder of the scheme deepjscc, as `load_decoder`."""

    def make() -> Decoder:
        return Decoder(
            config.width,
            config.symbol_channels,
            config.channel_steps,
            af=config.af,
            linear_path=config.linear_path,
        )

    return build(make, root / config.name / DECODER, config)


def load_latents(root: Path, config: BundleConfig) -> LatentDecoder:
    """Load the trained part of a GenerativeJSCC decoder, which is all that its bundle contains."""
    part, width = _generative_part(root, config), config.width
    if not isinstance(width, int):
        raise BundleError(f"{root / config.name}: width: got {width}; must be one number")

    def make() -> LatentDecoder:
        return LatentDecoder(
            width,
            config.symbol_channels,
            config.channel_steps,
            size=config.image_size,
            style_dim=part.style_dim,
            latent=part.latent,
            latent_layers=part.latent_layers,
            latent_grid=part.latent_grid,
            latent_part=part.latent_part,
            noise=part.noise,
            af=config.af,
        )

    try:
        return build(make, root / config.name / DECODER, config)
    except ValueError as error:
        raise BundleError(f"{root / config.name}: {error}") from error


def load_generative(root: Path, config: BundleConfig, generators: Generators) -> GenerativeDecoder:
    """Load a decoder of the scheme generative, as `load_decoder`."""
    part = _generative_part(root, config)
    generator = generators.load(part.generator, part.generator_sha256)
    try:
        return GenerativeDecoder(load_latents(root, config), generator).eval()
    except ValueError as error:
        raise BundleError(f"{root / config.name}: {error}") from error


def _generative_part(root: Path, config: BundleConfig) -> GenerativePart:
    if config.generative is None:
        raise BundleError(f"{root / config.name}: is of the scheme {config.scheme!r}")
    return config.generative


_LOADERS: dict[str, Callable[[Path, BundleConfig, Generators], nn.Module]] = {
    "deepjscc": lambda root, config, _: load_deepjscc(root, config),
    "generative": load_generative,
}
