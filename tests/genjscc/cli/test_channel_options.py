# SPDX-License-Identifier: Apache-2.0
"""Channels on the command line."""

from __future__ import annotations

import pytest

from genjscc.cli.options import ChannelName, channel_of
from genjscc.client.options import CHANNELS, Fading
from genjscc.errors import InvalidInputError
from genjscc.wire.ofdm import Ofdm


def test_names_are_those_of_the_sdk() -> None:
    assert [name.value for name in ChannelName] == list(CHANNELS)
    for name in ChannelName:
        assert channel_of(name, 4.0, 0) == CHANNELS[name.value]
    assert channel_of(ChannelName.RICIAN, 2.0, 8) == Fading(2.0, 8)


def test_pairs_set_fields_of_ofdm() -> None:
    pairs = ["delay_spread_ns=300", "fft_size=128", "estimation=ls", "clipping_db=4"]
    assert channel_of(ChannelName.TDL_C, 0.0, 0, pairs) == Ofdm(
        "tdl-c", delay_spread_ns=300.0, fft_size=128, estimation="ls", clipping_db=4.0
    )


@pytest.mark.parametrize(
    ("name", "pair", "text"),
    [
        (ChannelName.AWGN, "cfo=0.1", "not over OFDM"),
        (ChannelName.OFDM, "cfo", "FIELD=VALUE"),
        (ChannelName.OFDM, "profile=tdl-a", "delay_spread_ns"),
        (ChannelName.OFDM, "fft_size=many", "invalid literal"),
    ],
)
def test_bad_pairs_are_named(name: ChannelName, pair: str, text: str) -> None:
    with pytest.raises(InvalidInputError, match=text):
        channel_of(name, 0.0, 0, [pair])
