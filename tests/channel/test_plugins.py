# SPDX-License-Identifier: Apache-2.0
"""Channels of strangers: what they are given, what is refused, and that seeds and batches hold."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from channel.plugins import load_plugins, make_plugin
from channel.service import ChannelEngine
from genjscc import LocalLink, PluginChannel
from genjscc.client.options import Options
from genjscc.client.protocol import transmit_request
from genjscc.errors import InvalidInputError, RemoteError
from genjscc.serving.engine import answer, answer_many
from genjscc.serving.settings import ChannelSettings
from genjscc.wire.codewords import Codeword
from genjscc.wire.tensors import complex_from_message


def rotate(symbols: Any, snr_db: float, rng: Any, *, degrees: float = 90.0) -> Any:
    symbols *= np.exp(1j * np.deg2rad(degrees))  # in place: it is the plug-in's own copy
    return symbols


def jam(symbols: Any, snr_db: float, rng: Any, *, share: float) -> Any:
    hit = rng.random(len(symbols)) < share
    return symbols + hit * 10 ** (-snr_db / 20) * rng.standard_normal(len(symbols))


PLUGINS = {
    "rotate": rotate,
    "jam": jam,
    "short": lambda symbols, snr_db, rng: symbols[:-1],
    "text": lambda symbols, snr_db, rng: ["a"] * len(symbols),
    "huge": lambda symbols, snr_db, rng: symbols.astype(complex) * 1e60,
    "broken": lambda symbols, snr_db, rng: 1 / 0,
}


@pytest.fixture(scope="module")
def engine() -> ChannelEngine:
    return ChannelEngine(ChannelSettings(), plugins=PLUGINS)


def codeword(seed: int, k: int = 24) -> Codeword:
    draws = np.random.default_rng(seed).standard_normal((2, k))
    symbols = (draws[0] + 1j * draws[1]).astype(np.complex64)
    return Codeword(symbols, "pair", Fraction(1, 48), (8, 8))


def request(name: str, seed: int = 3, snr_db: float = 0.0, number: int = 0, **parameters: float):
    options = Options(snr_db=snr_db, seed=seed, channel=PluginChannel(name, parameters))
    return transmit_request(codeword(number), options)


def received(response: Any) -> Any:
    return complex_from_message(response.received.symbols, field="received", max_size=2**20)


def test_it_gets_symbols_of_power_1_and_its_answer_is_measured(engine: ChannelEngine) -> None:
    response = answer(engine, request("rotate", degrees=180.0))
    symbols = codeword(0).symbols
    expected = -symbols / np.sqrt(np.mean(np.abs(symbols) ** 2))
    np.testing.assert_allclose(received(response), expected, rtol=1e-5)
    assert response.measured_power == pytest.approx(1.0, rel=1e-6)
    # ||z||^2 over ||-z - z||^2.
    assert response.measured_snr_db == pytest.approx(-10 * np.log10(4), abs=1e-4)


@given(
    seeds=st.lists(st.integers(0, 2**63 - 1), min_size=2, max_size=5),
    snr_db=st.floats(-10, 20),
    share=st.floats(0.1, 1),
)
def test_a_seed_gives_the_same_whatever_the_batch(
    engine: ChannelEngine, seeds: list[int], snr_db: float, share: float
) -> None:
    requests = [
        request("jam", seed, snr_db, number, share=share) for number, seed in enumerate(seeds)
    ]
    together = answer_many(engine, requests, max_batch=4)
    for one, response in zip(requests, together, strict=True):
        assert not isinstance(response, Exception)
        assert response.received == answer(engine, one).received


def test_seeds_differ_and_so_do_parameters(engine: ChannelEngine) -> None:
    answers = [
        received(answer(engine, request("jam", seed, share=share))).tobytes()
        for seed in (1, 2)
        for share in (0.5, 1.0)
    ]
    assert len(set(answers)) == 4


@pytest.mark.parametrize(
    ("name", "parameters", "match"),
    [
        ("nothing", {}, r"model.plugin.name: got 'nothing'; this service has broken, huge, jam"),
        ("rotate", {"degres": 1.0}, r"plugin.parameters: got 'degres'; rotate has degrees"),
        ("rotate", {"degrees": float("nan")}, r"plugin.parameters.degrees: got nan"),
        ("jam", {}, r"plugin.parameters: share missing"),
        ("short", {"x": 1.0}, r"short has none"),
    ],
)
def test_bad_requests_name_the_field(
    engine: ChannelEngine, name: str, parameters: dict[str, float], match: str
) -> None:
    with pytest.raises(InvalidInputError, match=match):
        answer(engine, request(name, **parameters))


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("short", r"plug-in short: returned complex64 \[23\]; must be complex \[24\]"),
        ("text", r"plug-in text: returned"),
        ("huge", "not finite"),
    ],
)
def test_bad_answers_of_a_plugin_are_its_fault(
    engine: ChannelEngine, name: str, match: str
) -> None:
    with pytest.raises(RemoteError, match=match):
        answer(engine, request(name))


def test_in_one_process_functions_are_given_as_they_are(bundles: Path) -> None:
    with LocalLink(bundles=bundles, plugins=PLUGINS) as link:
        with pytest.raises(ZeroDivisionError):  # one's own code, one's own error
            link.transmit(codeword(1), channel=PluginChannel("broken"))
        turned = link.transmit(codeword(1), channel=PluginChannel("rotate"))
        assert turned.measured_snr_db == pytest.approx(-10 * np.log10(2), abs=1e-4)
        with pytest.raises(InvalidInputError, match=r"parameters.share: got 'much'"):
            link.transmit(codeword(1), channel=PluginChannel("jam", {"share": "much"}))  # type: ignore[dict-item]


def test_a_service_without_plugins_says_so() -> None:
    with pytest.raises(InvalidInputError, match="this service has no plug-in"):
        answer(ChannelEngine(ChannelSettings()), request("rotate"))


def test_a_plugin_on_torch_gets_the_same(engine: ChannelEngine) -> None:
    torch_engine = ChannelEngine(ChannelSettings(backend="torch"), plugins=PLUGINS)
    one = request("jam", share=0.5)
    np.testing.assert_allclose(
        received(answer(torch_engine, one)), received(answer(engine, one)), rtol=1e-6
    )


def test_plugins_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_channels_xyz.py").write_text(
        "def one(symbols, snr_db, rng, *, a=1.0): return symbols\n"
        "def two(z, snr, rng): return z\n"
        "def bad(symbols): return symbols\n"
        "number = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    plugins = load_plugins("my_channels_xyz:one, my_channels_xyz:two,")
    assert list(plugins) == ["one", "two"]
    assert plugins["one"].parameters == ("a",)
    for names, match in (
        ("my_channels_xyz", "must be module:function"),
        ("my_channels_xyz:", "must be module:function"),
        ("no_such_module_xyz:one", "No module named 'no_such_module_xyz'"),
        ("my_channels_xyz:three", "three"),
        ("my_channels_xyz:number", "number is 3; must be a function"),
        ("my_channels_xyz:bad", r"must be bad\(symbols, snr_db, rng"),
        ("my_channels_xyz:one,my_channels_xyz:one", "duplicate plug-in name 'one'"),
    ):
        with pytest.raises(InvalidInputError, match=match):
            load_plugins(names)
    sys.modules.pop("my_channels_xyz", None)


@pytest.mark.parametrize(
    "function",
    [
        lambda symbols, snr_db, rng, extra: symbols,
        lambda symbols, snr_db, rng, **parameters: symbols,
        lambda *everything: everything[0],
    ],
)
def test_a_function_of_another_form_is_refused(function: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"must be it\(symbols, snr_db, rng"):
        make_plugin("it", function)
