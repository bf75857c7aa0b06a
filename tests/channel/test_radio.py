# SPDX-License-Identifier: Apache-2.0
"""The radio link: symbols over OFDM, multipath and imperfect hardware, against theory."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from channel.noise import unit_noise_rows
from channel.ofdm import checked_radio, layout_of
from channel.physics import awgn, measured_snr_db, normalize_power
from channel.radio import Arrival, Draws, draw, transmit
from genjscc.errors import InvalidInputError
from genjscc.wire.ofdm import Ofdm

ROWS, K = 64, 1536
TDL = Ofdm(profile="tdl-a", delay_spread_ns=300)


def codewords(rows: int = ROWS, k: int = K) -> Any:
    return normalize_power(unit_noise_rows(range(1000, 1000 + rows), k))


def send(options: Ofdm, snr_db: float, z: Any = None, seed: int = 0) -> Arrival:
    z = codewords() if z is None else z
    rows, k = z.shape
    radio = checked_radio(options, k)
    return transmit(z, np.full(rows, snr_db), draw(radio, k, range(seed, seed + rows)), radio)


def db(power: Any) -> Any:
    return 10 * np.log10(power)


@pytest.mark.parametrize("equalization", ["mmse", "zero_forcing"])
@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0, 30.0])
def test_noise_over_ofdm_is_plain_noise(equalization: Any, snr_db: float) -> None:
    options = Ofdm(estimation="perfect", equalization=equalization)
    z = codewords(ROWS, 4096)
    arrival = send(options, snr_db, z)
    plain = awgn(z, np.full(ROWS, snr_db), unit_noise_rows(range(ROWS), 4096))
    over_ofdm = db(np.mean(np.abs(arrival.symbols - z) ** 2))
    assert over_ofdm == pytest.approx(db(np.mean(np.abs(plain - z) ** 2)), abs=0.05)
    assert arrival.snr_db.mean() == pytest.approx(measured_snr_db(z, plain).mean(), abs=0.05)
    assert arrival.equalized_snr_db.mean() == pytest.approx(snr_db, abs=0.05)


@pytest.mark.parametrize("profile", ["tdl-a", "tdl-b", "tdl-c"])
def test_uncoded_qpsk_has_the_error_rate_of_rayleigh_fading(profile: Any) -> None:
    options = Ofdm(
        profile=profile, estimation="perfect", equalization="zero_forcing", speed_mps=50.0
    )
    rows, snr_db = 1500, 9.0
    signs = np.sign(unit_noise_rows(range(rows), 96).view(np.float32)) / np.float32(np.sqrt(2))
    z = signs.view(np.complex64)
    errors = (np.sign(send(options, snr_db, z).symbols.view(np.float32)) != np.sign(signs)).mean(1)
    per_bit = 10 ** (snr_db / 10) / 2
    expected = 0.5 * (1 - math.sqrt(per_bit / (1 + per_bit)))
    # Codewords are independent of each other, their bits are not.
    assert errors.mean() == pytest.approx(expected, abs=4 * errors.std() / np.sqrt(rows))


@pytest.mark.parametrize("estimation", ["perfect", "ls", "lmmse"])
@pytest.mark.parametrize("change", [{}, {"speed_mps": 40.0}, {"pilots": "block"}])
def test_estimated_snr_is_the_measured_one(estimation: Any, change: Any) -> None:
    options = replace(TDL, estimation=estimation, **change)
    arrival = send(options, 12.0)
    difference = arrival.estimated_snr_db - arrival.equalized_snr_db
    assert difference.mean() == pytest.approx(0.0, abs=0.3)
    assert difference.std() < 0.6


def test_better_knowledge_gives_better_symbols() -> None:
    means = [
        send(replace(TDL, estimation=e), 5.0).equalized_snr_db.mean()  # type: ignore[arg-type]
        for e in ("ls", "lmmse", "perfect")
    ]
    assert means == sorted(means)
    forced = send(replace(TDL, estimation="perfect", equalization="zero_forcing"), 5.0)
    assert forced.equalized_snr_db.mean() < means[-1]


@pytest.mark.parametrize("equalization", ["mmse", "zero_forcing"])
def test_codewords_keep_their_size(equalization: Any) -> None:
    z = codewords()
    symbols = send(replace(TDL, equalization=equalization), 10.0, z).symbols
    gain = (symbols * z.conj()).sum() / (np.abs(z) ** 2).sum()
    assert gain == pytest.approx(1.0, abs=0.03)


def test_frequency_offset_leaks_into_neighbours() -> None:
    offset = 0.05
    arrival = send(Ofdm(estimation="perfect", cfo=offset), 60.0)
    leaked = (math.pi * offset) ** 2 / 3  # for a small offset and equal powers
    assert arrival.equalized_snr_db.mean() == pytest.approx(-db(leaked), abs=0.3)
    # Pilots find the offset.
    found = send(Ofdm(cfo=offset), 60.0)
    assert found.equalized_snr_db.mean() == pytest.approx(-db(leaked), abs=2.0)


def test_phase_noise_leaks_into_neighbours() -> None:
    radio = Ofdm(estimation="perfect", phase_noise_hz=30.0)
    # Variance of a Wiener phase around its mean over an OFDM symbol.
    leaked = math.pi * 30.0 / radio.subcarrier_spacing_hz / 3
    assert send(radio, 60.0).equalized_snr_db.mean() == pytest.approx(-db(leaked), abs=0.3)


def test_iq_imbalance_leaves_an_image() -> None:
    ratio = 10 ** (1 / 20) * np.exp(1j * math.radians(3.0))
    rejection = abs(1 + ratio) ** 2 / abs(1 - ratio) ** 2
    arrival = send(Ofdm(estimation="perfect", iq_gain_db=1.0, iq_phase_deg=3.0), 60.0)
    assert arrival.equalized_snr_db.mean() == pytest.approx(db(rejection), abs=0.2)


def test_clipping_distorts_as_bussgang_has_it() -> None:
    clipping_db = 2.0
    level2 = 10 ** (clipping_db / 10)
    level = math.sqrt(level2)
    gain = 1 - math.exp(-level2) + math.sqrt(math.pi) / 2 * level * math.erfc(level)
    distortion = 1 - math.exp(-level2) - gain**2
    # Without pilots, whose chirp has lower peaks, the samples are Gaussian.
    options = Ofdm(estimation="perfect", clipping_db=clipping_db, pilots="none")
    clipped = send(options, 60.0)
    assert clipped.equalized_snr_db.mean() == pytest.approx(db(gain**2 / distortion), abs=0.3)
    assert 7.0 < send(Ofdm(), 60.0).papr_db.mean() < 11.0
    assert (clipped.papr_db < 4.0).all()


IMPAIRED = replace(
    TDL, speed_mps=30.0, clipping_db=4.0, cfo=0.01, phase_noise_hz=20.0, iq_gain_db=0.5
)


@pytest.mark.parametrize("options", [Ofdm(), TDL, IMPAIRED], ids=["noise", "tdl", "impaired"])
def test_a_codeword_depends_on_its_seed_alone(options: Ofdm) -> None:
    z = codewords(5)
    together = send(options, 7.0, z, seed=10)
    for number in range(5):
        alone = send(options, 7.0, z[number : number + 1], seed=10 + number)
        for whole, part in zip(together, alone, strict=True):
            np.testing.assert_array_equal(whole[number : number + 1], part)
    other = send(options, 7.0, z, seed=11)
    assert not np.array_equal(other.symbols, together.symbols)


def on_torch(draws: Draws) -> Draws:
    return Draws(*(None if one is None else torch.from_numpy(one) for one in draws))


@pytest.mark.parametrize("options", [Ofdm(), TDL, IMPAIRED, replace(TDL, estimation="ls")])
def test_libraries_agree(options: Ofdm) -> None:
    z = codewords(3, 200)
    radio = checked_radio(options, 200)
    draws, snr_db = draw(radio, 200, range(3)), np.full(3, 8.0)
    here = transmit(z, snr_db, draws, radio)
    there = transmit(torch.from_numpy(z), torch.from_numpy(snr_db), on_torch(draws), radio)
    for one, other in zip(here, there, strict=True):
        np.testing.assert_allclose(other.numpy(), one, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize(
    "options",
    [replace(TDL, estimation="perfect"), replace(IMPAIRED, estimation="perfect"), TDL],
    ids=["perfect", "impaired", "estimated"],
)
def test_gradients_reach_the_sent_symbols(options: Ofdm) -> None:
    radio = checked_radio(options, 48)
    draws = on_torch(draw(radio, 48, [1]))
    z = torch.from_numpy(codewords(1, 48)).requires_grad_()
    snr_db = torch.tensor([10.0])

    def loss(symbols: Any) -> Any:
        return (transmit(symbols, snr_db, draws, radio).symbols.abs() ** 2).sum()

    loss(z).backward()
    assert z.grad is not None
    step = torch.from_numpy(unit_noise_rows([3], 48)) * 1e-2
    with torch.no_grad():
        change = (loss(z + step) - loss(z - step)) / 2
    slope = (z.grad.conj() * step).real.sum()
    assert change.item() == pytest.approx(slope.item(), rel=0.1, abs=1e-2)


@pytest.mark.parametrize(
    ("options", "symbols", "pilots", "uses"),
    [
        # 17 of 64 subcarriers are pilots, 47 carry data.
        (Ofdm(), 3, 51, 3 * 72),
        (Ofdm(pilots="none", estimation="perfect"), 2, 0, 2 * 72),
        (Ofdm(pilots="block", pilot_spacing=3), 3, 64, 3 * 72),
        (Ofdm(pilots="block", pilot_spacing=2), 4, 128, 4 * 72),
        (Ofdm(subcarriers=32, cyclic_prefix=0), 5, 45, 5 * 32),
    ],
)
def test_cost_of_pilots_prefix_and_padding(
    options: Ofdm, symbols: int, pilots: int, uses: int
) -> None:
    layout = layout_of(checked_radio(options, 100), 100)
    assert (layout.num_symbols, layout.num_pilots, layout.channel_uses) == (symbols, pilots, uses)
    assert len(set(layout.data.tolist())) == 100


@pytest.mark.parametrize(
    ("change", "field", "text"),
    [
        ({"profile": "tdl-z"}, "profile", "tdl-e"),
        ({"speed_mps": -1.0}, "speed_mps", "from 0"),
        ({"speed_mps": 3000.0}, "speed_mps", "5%"),
        ({"delay_spread_ns": float("nan")}, "delay_spread_ns", "from 0"),
        ({"delay_spread_ns": 1000.0}, "cyclic_prefix", "at least 19"),
        ({"pilot_spacing": 1}, "pilot_spacing", "every other"),
        ({"pilot_spacing": 64}, "pilot_spacing", "to 63"),
        ({"fft_size": 8, "subcarriers": 2, "cyclic_prefix": 4}, "pilot_spacing", "2 subcarriers"),
        ({"subcarriers": 65}, "subcarriers", "to 64"),
        ({"subcarriers": 1}, "subcarriers", "at least 2"),
        ({"fft_size": 5000}, "fft_size", "to 4096"),
        ({"pilots": "none"}, "estimation", "perfect"),
        ({"cfo": 0.6}, "cfo", "0.5"),
        ({"clipping_db": -9.0}, "clipping_db", "from -3"),
        (
            {"fft_size": 4096, "cyclic_prefix": 400, "subcarriers": 3, "pilot_spacing": 2},
            "fft_size",
            "samples",
        ),
    ],
)
def test_bad_options_name_their_field(change: Any, field: str, text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        checked_radio(replace(TDL, **change), 2000)
    assert caught.value.field == f"ofdm.{field}"
    assert text in str(caught.value)
