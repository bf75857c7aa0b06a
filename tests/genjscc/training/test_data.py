# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch

from genjscc.errors import InvalidInputError
from genjscc.training.data import ImageFolder, StepSampler, list_images
from tests.helpers.photo_folders import write_photos


def batches(
    count: int, *, length: int = 23, size: int = 3, first: int = 0, rank: int = 0, ranks: int = 1
) -> list[list[int]]:
    sampler = StepSampler(length, size, seed=5, first_step=first, rank=rank, ranks=ranks)
    return list(islice(sampler, count))


def test_a_resumed_order_is_the_unbroken_one() -> None:
    unbroken = batches(20)
    assert batches(13, first=7) == unbroken[7:]


def test_an_epoch_shows_no_image_twice_and_the_next_one_is_shuffled_anew() -> None:
    steps = 23 // 3
    first, second = batches(2 * steps)[:steps], batches(2 * steps)[steps:]
    shown = [index for batch in first for index in batch]
    assert len(set(shown)) == len(shown) == 21
    assert first != second


def test_two_processes_share_the_batches_of_one_with_twice_the_size() -> None:
    alone = batches(6, size=6)
    shared = zip(batches(6, rank=0, ranks=2), batches(6, rank=1, ranks=2), strict=True)
    assert [a + b for a, b in shared] == alone


def test_a_batch_larger_than_the_folder_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"batch_size: 12 on each of 2 .* 23 images"):
        StepSampler(23, 12, seed=0, first_step=0, rank=0, ranks=2)


def test_images_are_found_in_subfolders_and_become_squares(tmp_path: Path) -> None:
    write_photos(tmp_path / "a", 2)
    write_photos(tmp_path / "b" / "c", 1, size=(16, 48))
    (tmp_path / "notes.txt").write_text("not an image")
    assert len(list_images(tmp_path)) == 3
    image = ImageFolder(tmp_path, 16)[2]
    assert image.shape == (3, 16, 16)
    assert image.dtype == torch.uint8


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_folder_without_images_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match=name):
        list_images(tmp_path / name)


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    with pytest.raises(InvalidInputError, match=r"bad\.png"):
        ImageFolder(tmp_path, 16)[0]
