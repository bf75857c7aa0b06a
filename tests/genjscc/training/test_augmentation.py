# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from photo_folders import write_photos
from pydantic import ValidationError

from genjscc.training.augmentation import Augmentation, central, framed
from genjscc.training.data import ImageFolder, NumberedSampler, StepSampler

WINDOW = Augmentation(cut="window")
# Red tells the row, green the column.
MAP = np.stack(np.broadcast_arrays(*np.ogrid[:90, :120], 0), axis=-1).astype(np.uint8)


def draws(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_windows_are_squares_of_the_image_anywhere_in_it() -> None:
    corners = []
    for seed in range(200):
        window = framed(MAP, 32, WINDOW, draws(seed))
        y, x = window[0, 0, :2].astype(int)
        np.testing.assert_array_equal(window, MAP[y : y + 32, x : x + 32])
        corners.append((y, x))
    rows, columns = zip(*corners, strict=True)
    assert min(rows) < 5
    assert max(rows) > 53
    assert min(columns) < 8
    assert max(columns) > 80


def test_a_zoom_below_one_shows_more_of_the_image() -> None:
    half = framed(MAP, 32, Augmentation(cut="window", zoom=(0.5, 0.5)), draws(1)).astype(int)
    assert half[-1, 0, 0] - half[0, 0, 0] == pytest.approx(62, abs=2)
    assert half[0, -1, 1] - half[0, 0, 1] == pytest.approx(62, abs=2)


def test_an_image_smaller_than_the_square_is_enlarged() -> None:
    assert framed(MAP[:20, :30], 32, WINDOW, draws(1)).shape == (32, 32, 3)
    assert central(MAP[:20, :30], 32, WINDOW).shape == (32, 32, 3)


def test_the_central_window_is_not_scaled() -> None:
    np.testing.assert_array_equal(central(MAP, 30, WINDOW), MAP[30:60, 45:75])


@pytest.mark.parametrize("fields", [{"zoom": (0.5, 1)}, {"cut": "window", "zoom": (1, 0.5)}])
def test_contradictions_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="zoom: got"):
        Augmentation.model_validate(fields)


def test_a_window_depends_on_seed_and_sample_alone(tmp_path: Path) -> None:
    write_photos(tmp_path, 3, size=(90, 70))
    one, again = (ImageFolder(tmp_path, 32, WINDOW, seed=7) for _ in range(2))
    other = ImageFolder(tmp_path, 32, WINDOW, seed=8)
    assert torch.equal(one[1, 40], again[1, 40])
    assert not torch.equal(one[1, 40], one[1, 41])
    assert not torch.equal(one[1, 40], other[1, 40])
    assert torch.equal(one[1], other[1])


def test_samples_are_numbered_alike_by_one_process_and_by_two() -> None:
    def numbered(rank: int, ranks: int, first: int) -> list[list[tuple[int, int]]]:
        size = 8 // ranks
        steps = StepSampler(40, size, seed=5, first_step=first, rank=rank, ranks=ranks)
        numbers = NumberedSampler(steps, first_sample=first * 8 + rank * size, stride=8)
        return [batch for batch, _ in zip(numbers, range(3), strict=False)]

    shared = zip(numbered(0, 2, 2), numbered(1, 2, 2), strict=True)
    assert [a + b for a, b in shared] == numbered(0, 1, 2)
    assert numbered(0, 1, 3)[0] == numbered(0, 1, 2)[1]
