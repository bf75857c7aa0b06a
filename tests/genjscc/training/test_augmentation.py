# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from genjscc.training.augmentation import Augmentation, augmented, central
from genjscc.training.data import ImageFolder, NumberedSampler, StepSampler
from tests.helpers.photo_folders import write_photos

WINDOW = Augmentation(cut="window")
# Red tells the row, green the column.
MAP = np.stack(np.broadcast_arrays(*np.ogrid[:90, :120], 0), axis=-1).astype(np.uint8)


def draws(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_windows_are_squares_of_the_image_anywhere_in_it() -> None:
    corners = []
    for seed in range(200):
        window = augmented(MAP, 32, WINDOW, draws(seed))
        y, x = window[0, 0, :2].astype(int)
        np.testing.assert_array_equal(window, MAP[y : y + 32, x : x + 32])
        corners.append((y, x))
    rows, columns = zip(*corners, strict=True)
    assert min(rows) < 5
    assert max(rows) > 53
    assert min(columns) < 8
    assert max(columns) > 80


def test_a_zoom_below_one_shows_more_of_the_image() -> None:
    half = augmented(MAP, 32, Augmentation(cut="window", zoom=(0.5, 0.5)), draws(1)).astype(int)
    assert half[-1, 0, 0] - half[0, 0, 0] == pytest.approx(62, abs=2)
    assert half[0, -1, 1] - half[0, 0, 1] == pytest.approx(62, abs=2)


def test_an_image_smaller_than_the_square_is_enlarged() -> None:
    assert augmented(MAP[:20, :30], 32, WINDOW, draws(1)).shape == (32, 32, 3)
    assert central(MAP[:20, :30], 32, WINDOW).shape == (32, 32, 3)


def test_the_central_window_is_not_scaled() -> None:
    np.testing.assert_array_equal(central(MAP, 30, WINDOW), MAP[30:60, 45:75])


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"zoom": (1, 0.5)}, "zoom"),
        ({"zoom": (0, 1)}, "zoom"),
        ({"cut": "window", "shift": 0.1}, "shift"),
        ({"cut": "window", "rotation_deg": 5}, "rotation_deg"),
    ],
)
def test_contradictions_are_refused(fields: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError, match=f"{named}: got"):
        Augmentation.model_validate(fields)


def spot(seed: int, **fields: object) -> tuple[float, float, float]:
    """Centre (x, y) and area of a bright square, which is in the middle before."""
    rgb = np.zeros((64, 64, 3), np.uint8)
    rgb[28:36, 28:36] = 255
    image = augmented(rgb, 64, Augmentation.model_validate(fields), draws(seed))
    mass = image[..., 0] / 255
    rows, columns = np.mgrid[:64, :64] + 0.5
    area = mass.sum()
    return float((columns * mass).sum() / area), float((rows * mass).sum() / area), float(area)


def test_squares_are_shifted_by_at_most_the_share_of_the_side() -> None:
    centres = np.array([spot(seed, shift=0.1)[:2] for seed in range(60)]) - 32
    assert np.abs(centres).max() <= 6.4 + 0.1
    assert np.abs(centres).max(0).min() > 5
    assert abs(centres.mean()) < 1.5


def test_squares_are_zoomed_within_the_range() -> None:
    sides = [spot(seed, zoom=(0.8, 1.25))[2] ** 0.5 / 8 for seed in range(60)]
    assert min(sides) == pytest.approx(0.8, abs=0.05)
    assert max(sides) == pytest.approx(1.25, abs=0.05)


def test_a_rotation_turns_about_the_middle() -> None:
    rgb = np.zeros((64, 64, 3), np.uint8)
    rgb[30:34, 54:58] = 255  # right of the middle by 24
    angles = []
    for seed in range(60):
        image = augmented(rgb, 64, Augmentation(rotation_deg=20), draws(seed))[..., 0] / 255
        rows, columns = np.mgrid[:64, :64] - 31.5
        x, y = (columns * image).sum() / image.sum(), (rows * image).sum() / image.sum()
        assert np.hypot(x, y) == pytest.approx(24, abs=0.5)
        angles.append(np.degrees(np.arctan2(y, x)))
    assert np.abs(angles).max() == pytest.approx(20, abs=1.5)


def test_light_and_colour_change_within_their_ranges() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    lit = np.array([augmented(grey, 8, Augmentation(light=0.2), draws(s))[0, 0] for s in range(80)])
    assert (lit[:, 0] == lit[:, 1]).all()
    assert lit.min() == pytest.approx(80, abs=3)
    assert lit.max() == pytest.approx(120, abs=3)
    tinted = augmented(grey, 8, Augmentation(colour=0.2), draws(1))[0, 0].astype(int)
    assert len(set(tinted)) == 3
    assert np.abs(tinted - 100).max() <= 20


def test_nothing_changes_unless_it_is_asked_for() -> None:
    np.testing.assert_array_equal(
        augmented(MAP, 90, Augmentation(), draws(1)), central(MAP, 90, Augmentation())
    )


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
