# SPDX-License-Identifier: Apache-2.0
"""The decoders and generators of the bundles below a folder."""

from __future__ import annotations

from pathlib import Path

from genjscc.bundles.config import BundleConfig
from genjscc.bundles.store import DECODER, GENERATOR, fill, read_generator_config
from genjscc.errors import BundleError
from receiver.deepjscc import Decoder
from receiver.stylegan2 import Generator
from receiver.stylegan2_checkpoints import load_bundle


class Generators:
    """The generator bundles below a folder, each loaded once, whoever asks.

    They are frozen: all pairs and inversions share them.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._loaded: dict[str, Generator] = {}

    def load(self, name: str, sha256: str | None = None) -> Generator:
        """The generator of that name, verified; in evaluation mode, float32.

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


def load_decoder(root: Path, config: BundleConfig) -> Decoder:
    """The decoder of a bundle, ready for inference.

    Raises:
        BundleError: its file is missing, altered or of another network.
    """
    decoder = Decoder(config.width, config.symbol_channels, config.channel_steps)
    return fill(decoder, root / config.name / DECODER, config)
