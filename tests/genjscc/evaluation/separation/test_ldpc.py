# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys

import numpy as np
import pytest

from genjscc.client.options import Awgn, Fading
from genjscc.errors import InvalidInputError, MissingExtraError
from genjscc.evaluation.separation.codecs import codec
from genjscc.evaluation.separation.ldpc import MODULATIONS, LdpcLink, ldpc_attempts, simulate
from tests.helpers.pictures import gradient


@pytest.mark.parametrize("modulation", list(MODULATIONS))
def test_a_file_crosses_a_good_channel_bit_by_bit(modulation: str) -> None:
    jpeg = codec("jpeg")
    data = jpeg.encode(gradient(24, 24), 40)
    link = LdpcLink(16 * len(data) // MODULATIONS[modulation] + 1, modulation, "1/2")
    bits = np.zeros((1, link.num_bits), np.uint8)
    bits[0, : 8 * len(data)] = np.unpackbits(np.frombuffer(data, np.uint8))
    received = link.transmit(bits, 25.0, Awgn(), [3])
    assert np.packbits(received[0])[: len(data)].tobytes() == data


def test_the_cliff_is_where_the_code_has_it() -> None:
    """Rate 1/2 with 4-QAM: capacity at 0 dB, and this length needs 1.5 to 2 dB more."""
    link = LdpcLink(256, "4-QAM", "1/2")
    below, above = (simulate(link, snr, Awgn(), range(64)).mean() for snr in (0.3, 3.0))
    assert below < 0.3
    assert above == 1.0


def test_long_messages_become_several_blocks_and_all_must_arrive() -> None:
    link = LdpcLink(10_000, "4-QAM", "1/2")
    assert link.blocks == 2
    assert link.num_bits == 10_000
    assert simulate(link, 4.0, Awgn(), [0, 1]).all()
    low_rate = LdpcLink(10_000, "4-QAM", "1/5")
    assert low_rate.blocks == 2
    assert low_rate.num_bits == 4_000


def test_the_fate_of_an_image_depends_on_its_seed_alone() -> None:
    link = LdpcLink(48, "4-QAM", "1/2")
    together = simulate(link, 1.0, Awgn(), range(40))
    apart = [simulate(link, 1.0, Awgn(), [seed])[0] for seed in range(40)]
    assert 0 < together.mean() < 1
    assert list(together) == apart


def test_fading_loses_the_images_with_small_gains() -> None:
    from genjscc.evaluation.separation.capacity import channel_gains

    link, seeds = LdpcLink(64, "4-QAM", "1/2"), range(60)
    arrived = simulate(link, 8.0, Fading(), seeds)
    power = np.abs(channel_gains(Fading(), seeds, 64)[:, 0]) ** 2
    snr_db = 8.0 + 10 * np.log10(power)
    assert arrived[snr_db > 5].all()
    assert not arrived[snr_db < -1].any()


def test_attempts_fall_in_size_and_end_where_everything_arrives() -> None:
    attempts = ldpc_attempts([64] * 8, 5.0, Awgn(), seed=0)
    budgets = [int(attempt.budgets[0]) for attempt in attempts]
    assert budgets == sorted(budgets, reverse=True)
    assert attempts[-1].arrived.all()
    assert not any(attempt.arrived.all() for attempt in attempts[:-1])
    assert attempts[-1].modulation in MODULATIONS


def test_where_no_code_fits_everything_is_lost() -> None:
    for k, snr_db in ((4, 5.0), (64, -30.0)):
        attempts = ldpc_attempts([k] * 3, snr_db, Awgn(), seed=0)
        assert attempts
        assert not any(attempt.arrived.any() for attempt in attempts)
    with pytest.raises(InvalidInputError, match="needs 12"):
        LdpcLink(4, "4-QAM", "1/2")


def test_without_sionna_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sionna.phy.mapping", None)
    with pytest.raises(MissingExtraError, match=r"genjscc\[ldpc\].*--channel-code capacity"):
        ldpc_attempts([64], 0.0, Awgn(), seed=0)
