# SPDX-License-Identifier: Apache-2.0
"""What ships inverts: photographs of faces that no model was trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genjscc import InversionOptions, LocalLink
from genjscc.photos import load_square, sample_photos
from genjscc.quality.metrics import perceptual_metric

FAST = InversionOptions(preset="fast")


def distances(
    images: list[np.ndarray], link: LocalLink, scheme: str, inversion: InversionOptions | None
) -> float:
    """Mean ST-LPIPS (Alex) of what arrives over the pair for any image; no step sees it."""
    received = [
        outcome.image  # type: ignore[union-attr]
        for outcome in link.send_many(
            images,
            snr_db=0,
            rate="1/192",
            model="natural64",
            scheme=scheme,
            seed=0,
            inversion=inversion,
        )
    ]
    x, x_hat = (
        torch.from_numpy(np.stack(side)).permute(0, 3, 1, 2).float() / 255
        for side in (images, received)
    )
    metric = perceptual_metric("st-lpips-alex")
    return float(metric.compare(metric.prepare(x), x_hat).mean())


@pytest.fixture(scope="module")
def faces() -> list[np.ndarray]:
    return [load_square(path, 64) for path in sample_photos()]


def test_faces_over_a_pair_that_was_trained_on_anything_look_like_faces(
    faces: list[np.ndarray],
) -> None:
    from_the_mean = InversionOptions(preset="fast", start="mean")
    with LocalLink() as link:
        blurred = distances(faces, link, "deepjscc", None)
        found = distances(faces, link, "inverse", FAST)
        assert found < 0.85 * blurred
        assert found < 0.85 * distances(faces, link, "inverse", from_the_mean)
