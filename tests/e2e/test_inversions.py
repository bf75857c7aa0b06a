# SPDX-License-Identifier: Apache-2.0
"""Inversions in a real receiver: given up, late, long beside short, beside ordinary work."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client.parser import text_string_to_metric_families

from genjscc import InversionOptions, InversionStep, Link, Reception
from genjscc.errors import DeadlineError
from tests.helpers.pictures import gradient
from tests.helpers.real_services import Services
from tests.helpers.tiny_bundles import SINGLE

PICTURE = gradient(64, 64)
PLAIN = {"perceptual_weight": 0.0, "image_perceptual_weight": 0.0}
LONG = InversionOptions(steps=(1000,), **PLAIN)  # type: ignore[arg-type]
SHORT = InversionOptions(steps=(3,), **PLAIN)  # type: ignore[arg-type]


def metric(services: Services, name: str, **labels: str) -> float:
    with urllib.request.urlopen(services.receiver.metrics_url) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    samples = [s for family in families for s in family.samples if s.name == name]
    return sum(s.value for s in samples if labels.items() <= s.labels.items())


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def ended(services: Services, outcome: str) -> float:
    return metric(services, "genjscc_inversions_total", outcome=outcome)


def test_closing_the_call_frees_the_device(services: Services, link: Link) -> None:
    before = ended(services, "cancelled")
    watched = link.watch(PICTURE, model=SINGLE, inversion=LONG)
    seen = [next(watched) for _ in range(3)]
    assert all(isinstance(one, InversionStep) for one in seen)
    assert metric(services, "genjscc_active_inversions") == 1
    watched.close()  # type: ignore[attr-defined]
    wait_for(lambda: ended(services, "cancelled") == before + 1)
    time.sleep(0.3)  # at most the step under way goes on
    steps = metric(services, "genjscc_inversion_steps_total")
    cpu = metric(services, "process_cpu_seconds_total")
    time.sleep(1.0)
    assert metric(services, "genjscc_inversion_steps_total") == steps
    assert metric(services, "process_cpu_seconds_total") - cpu < 0.5
    assert metric(services, "genjscc_active_inversions") == 0


@pytest.mark.parametrize("way", ["watch", "send"])
def test_a_deadline_ends_the_work(services: Services, way: str) -> None:
    before = ended(services, "deadline") + ended(services, "cancelled")
    with Link(**services.addresses, timeout_s=1.5) as hurried:
        if way == "watch":
            with pytest.raises(DeadlineError):
                list(hurried.watch(PICTURE, model=SINGLE, inversion=LONG))
        else:
            with pytest.raises(DeadlineError):
                hurried.send(PICTURE, model=SINGLE, scheme="inverse", inversion=LONG)
    wait_for(lambda: ended(services, "deadline") + ended(services, "cancelled") > before)
    wait_for(lambda: metric(services, "genjscc_active_inversions") == 0)


def test_a_stream_waits_for_a_long_one_that_makes_progress(services: Services) -> None:
    with Link(**services.addresses, timeout_s=1.5) as hurried:
        (outcome,) = hurried.send_many([PICTURE], model=SINGLE, scheme="inverse", inversion=LONG)
    assert isinstance(outcome, Reception)
    assert outcome.inversion is not None
    assert outcome.inversion.steps == 1000
    assert outcome.seconds["decode"] > 1.5


def test_short_ones_and_ordinary_work_do_not_wait_for_long_ones(
    services: Services, link: Link
) -> None:
    with ThreadPoolExecutor(1) as pool:
        watched = link.watch(PICTURE, model=SINGLE, inversion=LONG)
        next(watched)
        long = pool.submit(lambda: sum(1 for _ in watched))
        short = link.send(PICTURE, model=SINGLE, scheme="inverse", inversion=SHORT)
        assert short.inversion is not None
        assert short.inversion.steps == 3
        assert link.send(PICTURE, model=SINGLE, snr_db=0).image.shape == (64, 64, 3)
        assert metric(services, "genjscc_active_inversions") == 1
        assert not long.done()
        link.close()
        with pytest.raises(Exception, match="closed"):
            long.result()
    wait_for(lambda: metric(services, "genjscc_active_inversions") == 0)
