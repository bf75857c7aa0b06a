# SPDX-License-Identifier: Apache-2.0
"""What a load test sends: weights, sizes, repeatable draws."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from genjscc.errors import InvalidInputError
from genjscc.loadtest.mix import UNSPECIFIED, Mix, parse_size, parse_weighted


def make(**changes: object) -> Mix:
    fields = {
        "sizes": parse_weighted(["32:3", "48x16"], "size"),
        "rates": parse_weighted(["1/48:1", "1/192"], "rate"),
        "schemes": UNSPECIFIED,
        "snrs_db": [0.0, 5.0],
    }
    return Mix(**(fields | changes))  # type: ignore[arg-type]


def test_weights_are_kept_and_draws_repeat() -> None:
    shots, again = ([mix.draw() for _ in range(4000)] for mix in (make(), make()))
    sizes = Counter(shot.size for shot in shots)
    # Binomial, 4000 draws with p = 3/4: six standard deviations are 164.
    assert abs(sizes["32"] - 3000) < 164
    assert {shot.keywords["rate"] for shot in shots} == {"1/48", "1/192"}
    assert {shot.keywords["snr_db"] for shot in shots} == {0.0, 5.0}
    assert all(shot.keywords["scheme"] is None for shot in shots)
    for one, other in zip(shots, again, strict=True):
        assert (one.size, one.keywords) == (other.size, other.keywords)
        np.testing.assert_array_equal(one.image, other.image)
    assert {shot.image.shape for shot in shots} == {(32, 32, 3), (16, 48, 3)}


def test_files_are_sent_as_they_are() -> None:
    assert {make(files=(b"a", b"b")).draw().image for _ in range(50)} <= {b"a", b"b"}


@pytest.mark.parametrize("text", ["64:0", "64:-1", "64:x", ":", "", "64:inf", "64:nan"])
def test_wrong_weights_are_told(text: str) -> None:
    with pytest.raises(InvalidInputError, match="size: got"):
        parse_weighted([text], "size")


@pytest.mark.parametrize("text", ["0", "x", "64x", "x64", "-3", "1.5", "64x0"])
def test_wrong_sizes_are_told(text: str) -> None:
    with pytest.raises(InvalidInputError, match="size: got"):
        parse_size(text)


def test_sizes_are_width_by_height() -> None:
    assert parse_size("64") == (64, 64)
    assert parse_size("640x480") == (480, 640)


def test_wrong_rates_are_told_before_anything_is_sent() -> None:
    with pytest.raises(InvalidInputError, match="rate: got '2'"):
        make(rates=parse_weighted(["2"], "rate"))
