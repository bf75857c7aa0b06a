# SPDX-License-Identifier: Apache-2.0
"""Golden outputs: the PSNR of one image, seed and SNR for each model, to compare installations.

The noise depends on the seed only, so that two machines differ by rounding alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from genjscc.bundles.store import find_bundles
from genjscc.client.local import LocalLink
from genjscc.photos import load_square, sample_photos
from genjscc.quality.psnr import psnr_db
from genjscc.wire.ratios import format_ratio

SNR_DB, SEED = 5.0, 1
SIZE = 64


@dataclass(frozen=True)
class GoldenOutput:
    """One reception.

    Attributes:
        model: name of the pair, which decodes by its own scheme.
        pair_id: digest of its weights.
        image: file name of the sample photo.
        size: side of its central square in pixels.
        rate: bandwidth ratio, the model's highest.
        snr_db: SNR of the AWGN in dB.
        seed: of the noise.
        psnr_db: PSNR in dB of the received image.
    """

    model: str
    pair_id: str
    image: str
    size: int
    rate: str
    snr_db: float
    seed: int
    psnr_db: float


def golden_outputs(bundles: Path) -> list[GoldenOutput]:
    """Send the first sample photo with each pair of a folder, by name.

    Raises:
        BundleError: there is no pair, or one is broken.
    """
    photo = sample_photos()[0]
    image = load_square(photo, SIZE)
    found = []
    with LocalLink(bundles=bundles) as link:
        for name, config in sorted(find_bundles(bundles).items()):
            sent = link.send(image, snr_db=SNR_DB, seed=SEED, model=name, scheme=config.scheme)
            found.append(
                GoldenOutput(
                    model=name,
                    pair_id=config.pair_id,
                    image=photo.name,
                    size=SIZE,
                    rate=format_ratio(sent.codeword.bandwidth_ratio),
                    snr_db=SNR_DB,
                    seed=SEED,
                    psnr_db=psnr_db(image, sent.image),
                )
            )
    return found
