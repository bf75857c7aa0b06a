# SPDX-License-Identifier: Apache-2.0
"""`genjscc cbr`."""

from __future__ import annotations

import json

import pytest

from tests.helpers.command_line import genjscc


def run(*words: str) -> dict:
    done = genjscc("cbr", *words, "--json")
    return json.loads(done.stdout) | {"code": done.returncode}


def test_a_rate_of_kodak() -> None:
    (found,) = run("1/48", "--size", "768x512", "--snr-db", "0")["results"]
    assert found["k"] == 24576
    assert found["rho_fraction"] == "1/48"
    assert found["bits_per_pixel"] == 1 / 16
    assert found["bytes"] == 3072
    assert (found["symbol_channels"], found["network_k"]) == (32, 24576)


def test_from_bits_per_pixel_of_a_modulation() -> None:
    words = ("0.125", "--given", "bpp", "--bits-per-symbol", "2", "--size", "100x50")
    (found,) = run(*words)["results"]
    assert found["rho_fraction"] == "1/48"
    assert found["k"] == 312.5
    assert found["network_k"] == 32 * 7 * 4 / 2  # 112x64 once padded


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("1/48", "--size", "768"), "--size: got '768'; must be as 768x512"),
        (("half",), "value: got 'half'; must be a fraction"),
    ],
)
def test_errors_name_the_field(words: tuple[str, ...], message: str) -> None:
    shown = run(*words)
    assert shown["code"] == 1
    assert message in shown["error"]["message"]
