# SPDX-License-Identifier: Apache-2.0
"""A short run of scripts/fuzz.py: mutated messages at the checks, the calls and the sockets."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.helpers.fuzzing import (
    Findings,
    Seeds,
    check_alive,
    fuzz_calls,
    fuzz_checks,
    fuzz_sockets,
)
from tests.helpers.real_services import Services


@pytest.fixture(scope="module")
def seeds(bundles: Path) -> Seeds:
    return Seeds(bundles)


def test_checks_refuse_what_is_wrong_with_an_error_of_ours(seeds: Seeds) -> None:
    findings = Findings()
    fuzz_checks(seeds, 600, 0, findings)
    assert findings.bad == []
    for role in ("transmitter", "channel", "receiver"):
        # The mutations are of all kinds: some do no harm, some leave no message.
        assert findings.outcomes[f"{role}.prepare"].keys() >= {
            "accepted",
            "not a message",
            "INVALID_ARGUMENT",
        }


async def test_services_survive_calls_and_bytes(seeds: Seeds, services: Services) -> None:
    findings, rng = Findings(), random.Random(0)
    await fuzz_calls(seeds, services.addresses, 400, rng, findings)
    await fuzz_sockets(seeds, services.addresses, 150, rng, findings)
    await check_alive(seeds, services.addresses, findings)
    assert findings.bad == []
    assert findings.total == 550
