# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from genjscc.errors import InvalidInputError
from genjscc.evaluation.separation.codecs import codec
from genjscc.evaluation.separation.link import DigitalLink
from genjscc.quality.psnr import psnr_db

ROWS, COLUMNS = np.mgrid[:64, :64]
IMAGE = np.stack([2 * ROWS, 3 * COLUMNS, ROWS + COLUMNS], axis=-1).astype(np.uint8)
K = 2400


def test_a_picture_arrives_whole_at_the_design_snr_and_above_and_not_far_below() -> None:
    link = DigitalLink(codec("webp"), 5.0)
    high, design, low = (link.send(IMAGE, K, snr_db, seed=1) for snr_db in (15.0, 5.0, 0.0))
    assert high.arrived
    assert design.arrived
    np.testing.assert_array_equal(high.image, design.image)
    assert psnr_db(IMAGE, design.image) > 25
    assert not low.arrived
    assert (low.image == 128).all()
    assert low.num_bytes == design.num_bytes > 0
    assert design.scheme in low.scheme


def test_modulation_and_code_rate_may_be_given() -> None:
    link = DigitalLink(codec("webp"), modulation="4-QAM", code_rate="1/3")
    sent = link.send(IMAGE, K, 5.0, seed=1)
    assert sent.scheme == "4-QAM, rate 1/3"
    assert sent.num_bytes <= K * 2 / 3 / 8


def test_nothing_is_shown_if_no_file_fits() -> None:
    sent = DigitalLink(codec("webp"), modulation="BPSK", code_rate="1/5").send(
        IMAGE, 80, 20, seed=1
    )
    assert not sent.arrived
    assert sent.num_bytes == 0


def test_an_snr_at_which_no_code_works_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="design_snr_db: got -30; no code of 100 symbols"):
        DigitalLink(codec("webp"), -30.0).send(IMAGE, 100, 0.0, seed=1)


def test_at_capacity_the_file_fills_what_the_design_snr_carries() -> None:
    link = DigitalLink(codec("webp"), 0.0, ideal=True)  # 1 bit a symbol
    at, above, below = (link.send(IMAGE, K, snr_db, seed=1) for snr_db in (0.0, 5.0, -0.1))
    assert 0.8 * K / 8 < at.num_bytes <= K / 8
    assert (at.arrived, above.arrived, below.arrived) == (True, True, False)
    np.testing.assert_array_equal(at.image, above.image)
    assert at.scheme == "capacity at 0 dB"
    assert link.send(IMAGE, 80, 0.0, seed=1).num_bytes == 0
