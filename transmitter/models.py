# SPDX-License-Identifier: Apache-2.0
"""Loading of encoders from bundles."""

from __future__ import annotations

from pathlib import Path

from genjscc.bundles.config import BundleConfig
from genjscc.bundles.store import build, encoder_file
from transmitter.encoder import Encoder


def load_encoder(root: Path, config: BundleConfig) -> Encoder:
    """Load the encoder of a bundle, its own or a shared one, ready for inference.

    Raises:
        BundleError: the file is missing, altered or of another network.
    """

    def make() -> Encoder:
        return Encoder(
            config.width,
            config.symbol_channels,
            config.channel_steps,
            af=config.af,
            linear_path=config.linear_path,
        )

    return build(make, encoder_file(root, config), config)
