# SPDX-License-Identifier: Apache-2.0
"""Between 8-bit pictures and tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genjscc.errors import InvalidInputError
from genjscc.pixels import (
    checked_padded_size,
    images_per_pass,
    padded_size,
    to_padded_tensor,
    to_rgb,
    to_unit_range,
)
from tests.helpers.pictures import noise

sides = st.integers(1, 70)


@given(sides, sides)
def test_padding_and_cropping_undo_each_other(height: int, width: int) -> None:
    rgb = noise(height, width)
    padded = to_padded_tensor(rgb)
    rows, columns = padded.shape[1:]
    assert (rows, columns) == padded_size((height, width))
    assert 0 <= rows - height < 16
    assert 0 <= columns - width < 16
    assert rows % 16 == columns % 16 == 0
    np.testing.assert_array_equal(to_rgb(to_unit_range(padded))[:height, :width], rgb)


def test_rounding_is_to_nearest_and_clipped() -> None:
    levels = torch.tensor([-1.0, 0.0, 0.49 / 255, 0.51 / 255, 254.6 / 255, 1.0, 2.0])
    image = levels.expand(3, 1, -1)
    assert to_rgb(image)[0, :, 0].tolist() == [0, 0, 0, 1, 255, 255, 255]


def test_the_limit_counts_padded_pixels() -> None:
    assert checked_padded_size((17, 16), max_pixels=512) == (32, 16)
    with pytest.raises(InvalidInputError, match="16x17 pixels, 16x32 when padded") as caught:
        checked_padded_size((17, 16), max_pixels=511, field="f")
    assert caught.value.field == "f"


def test_a_pass_holds_at_least_one_image() -> None:
    assert images_per_pass((16, 16), max_pixels=1023) == 3
    assert images_per_pass((16, 16), max_pixels=1) == 1
