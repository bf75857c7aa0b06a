# SPDX-License-Identifier: Apache-2.0
"""The decoders of the bundles below a folder."""

from __future__ import annotations

from pathlib import Path

from genjscc.bundles.config import BundleConfig
from genjscc.bundles.store import DECODER, fill
from receiver.deepjscc import Decoder


def load_decoder(root: Path, config: BundleConfig) -> Decoder:
    """The decoder of a bundle, ready for inference.

    Raises:
        BundleError: its file is missing, altered or of another network.
    """
    decoder = Decoder(config.width, config.symbol_channels, config.channel_steps)
    return fill(decoder, root / config.name / DECODER, config)
