# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import torch

from genjscc.training.draws import draw_batch, draw_rate

CPU = torch.device("cpu")


def test_a_samples_draws_do_not_depend_on_its_batch() -> None:
    whole = draw_batch(3, range(40, 56), (-5, 5), 8, CPU)
    part = draw_batch(3, range(44, 48), (-5, 5), 8, CPU)
    assert torch.equal(whole.snr_db[4:8], part.snr_db)
    assert torch.equal(whole.flips[4:8], part.flips)
    assert torch.equal(whole.unit_noise[4:8], part.unit_noise)


def test_seeds_and_samples_differ() -> None:
    one, other = (draw_batch(seed, range(2), (-5, 5), 8, CPU) for seed in (1, 2))
    assert not torch.equal(one.snr_db, other.snr_db)
    assert not torch.equal(one.unit_noise, other.unit_noise)
    assert not torch.equal(one.unit_noise[0], one.unit_noise[1])


def test_the_snr_covers_its_range_evenly_and_half_of_the_images_are_flipped() -> None:
    draws = draw_batch(1, range(4000), (-5, 5), 1, CPU)
    assert draws.snr_db.min() >= -5
    assert draws.snr_db.max() <= 5
    # 5 standard errors of a uniform mean, and of a fair coin.
    assert abs(draws.snr_db.mean()) < 5 * 10 / 12**0.5 / 4000**0.5
    assert abs(draws.flips.float().mean() - 0.5) < 5 * 0.5 / 4000**0.5


def test_all_rates_come_up_equally_often() -> None:
    drawn = [draw_rate(1, step, (2, 8, 32)) for step in range(3000)]
    for rate in (2, 8, 32):
        assert abs(drawn.count(rate) / 3000 - 1 / 3) < 5 * (2 / 9 / 3000) ** 0.5


def test_rates_come_up_as_often_as_they_weigh() -> None:
    drawn = [draw_rate(1, step, (2, 8, 32), (1, 0, 3)) for step in range(2000)]
    assert drawn.count(8) == 0
    assert abs(drawn.count(2) / 2000 - 1 / 4) < 5 * (3 / 16 / 2000) ** 0.5
