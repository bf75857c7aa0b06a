# SPDX-License-Identifier: Apache-2.0
"""Computation shared by all peers: encoder and decoder, bytes in and out, on one thread.

Nothing is checked here: a peer does less than our services do, which is to its advantage.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

# The peers' environments know our dependencies; the repository is where this file is.
REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from genjscc.bundles.store import read_config  # noqa: E402
from genjscc.pixels import to_unit_range  # noqa: E402
from receiver.models import load_decoder  # noqa: E402
from transmitter.encoder import encode  # noqa: E402
from transmitter.models import load_encoder  # noqa: E402

NAME, RATIO, SNR_DB = "faces64", "1/48", 5.0
MAX_BATCH = 16


class Model:
    """The pair of a bundle."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        root = REPOSITORY / "models"
        self.config = read_config(root / NAME)
        self._encoder = load_encoder(root, self.config)
        self._decoder = load_decoder(root, self.config)
        self._channels = max(self.config.channels_by_ratio.values())

    @torch.inference_mode()
    def encode(self, images: Sequence[bytes]) -> list[bytes]:
        """Encode raw RGB pixels of square images of one size to symbols, cf32_le."""
        pixels = np.stack([np.frombuffer(image, np.uint8) for image in images])
        side = int((pixels.shape[1] // 3) ** 0.5)
        batch = torch.from_numpy(pixels).view(-1, side, side, 3).permute(0, 3, 1, 2).contiguous()
        snr_db = torch.full((len(images),), SNR_DB)
        symbols = encode(self._encoder, to_unit_range(batch), snr_db, self._channels).numpy()
        return [row.tobytes() for row in symbols]

    @torch.inference_mode()
    def decode(self, codewords: Sequence[bytes]) -> list[bytes]:
        """Decode symbols, cf32_le, to raw RGB pixels."""
        symbols = np.stack([np.frombuffer(codeword, np.complex64) for codeword in codewords])
        # rho = k / (3 * side^2) = C_out / 1536
        side = int((symbols.shape[1] * 512 / self._channels) ** 0.5)
        snr_db = torch.full((len(codewords),), SNR_DB)
        images = self._decoder(torch.from_numpy(symbols), snr_db, (side, side))
        pixels = images.clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1)
        return [image.tobytes() for image in pixels.contiguous().numpy()]
