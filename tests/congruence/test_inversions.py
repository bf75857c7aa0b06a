# SPDX-License-Identifier: Apache-2.0
"""Inversions watched through Link, AsyncLink and LocalLink: near and far must agree."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genjscc import AsyncLink, InversionOptions, InversionStep, Link, LocalLink, Reception
from genjscc.errors import GenJSCCError, InvalidInputError, ModelNotFoundError
from genjscc.v1 import inversion_pb2
from tests.helpers.pictures import gradient
from tests.helpers.real_services import Services
from tests.helpers.tiny_bundles import GENERATOR, SINGLE

PICTURE = gradient(64, 64)
QUICK = InversionOptions(steps=(2, 1), perceptual_weight=0, image_perceptual_weight=0, seed=4)
SENT: dict[str, Any] = {"snr_db": 3.0, "model": SINGLE, "seed": 1, "inversion": QUICK}
KINDS = ("Link", "AsyncLink", "LocalLink")


@pytest.fixture(scope="module")
def local(bundles: Path) -> LocalLink:
    return LocalLink(bundles=bundles)


def watch(
    kind: str, services: Services, local: LocalLink, **keywords: Any
) -> list[InversionStep | Reception]:
    given = SENT | keywords
    if kind == "LocalLink":
        return list(local.watch(PICTURE, **given))
    if kind == "Link":
        with Link(**services.addresses) as link:
            return list(link.watch(PICTURE, **given))

    async def run() -> list[InversionStep | Reception]:
        async with AsyncLink(**services.addresses) as link:
            return [event async for event in link.watch(PICTURE, **given)]

    return asyncio.run(run())


def test_the_image_is_the_same_near_and_far_watched_or_not(
    services: Services, local: LocalLink
) -> None:
    unwatched = local.send(PICTURE, scheme="inverse", **SENT)
    assert unwatched.inversion is not None
    assert unwatched.inversion.generator == GENERATOR
    assert (unwatched.inversion.steps, unwatched.inversion.seed) == (3, 4)
    with Link(**services.addresses) as link:
        (many,) = link.send_many([PICTURE], scheme="inverse", **SENT)
        receptions = [link.send(PICTURE, scheme="inverse", **SENT), many]
    assert local.send(PICTURE, snr_db=3.0, model=SINGLE, seed=1).inversion is None
    for kind in KINDS:
        *steps, reception = watch(kind, services, local)
        assert all(isinstance(one, InversionStep) for one in steps)
        assert isinstance(steps[-1], InversionStep)
        assert (steps[-1].step, steps[-1].num_steps, steps[-1].stage) == (3, 3, 2)
        assert isinstance(reception, Reception)
        assert reception.inversion is not None
        assert reception.inversion.losses == steps[-1].losses
        receptions.append(reception)
    for reception in receptions:
        assert isinstance(reception, Reception)
        difference = np.abs(reception.image.astype(int) - unwatched.image)
        assert difference.max() <= 1
        assert reception.inversion is not None
        assert reception.inversion.losses.total == pytest.approx(
            unwatched.inversion.losses.total, abs=1e-5
        )
        assert reception.measured_snr_db == unwatched.measured_snr_db


@pytest.mark.parametrize("kind", KINDS)
def test_previews_come_as_often_as_asked(kind: str, services: Services, local: LocalLink) -> None:
    longer = InversionOptions(steps=(5,), perceptual_weight=0, image_perceptual_weight=0)
    events = watch(kind, services, local, preview_every=2, inversion=longer)
    steps = [one for one in events if isinstance(one, InversionStep)]
    # Reports may be left out under load, never added.
    shown = [one.step for one in steps if one.preview is not None]
    assert shown
    assert len(shown) <= 3
    if len(steps) == 5:
        assert shown == [1, 2, 4]
    previews = [one.preview for one in steps if one.preview is not None]
    assert {preview.shape for preview in previews} == {(64, 64, 3)}
    without = watch(kind, services, local)
    assert all(one.preview is None for one in without if isinstance(one, InversionStep))


REFUSED: list[tuple[dict[str, Any], type[GenJSCCError], str]] = [
    ({"scheme": "deepjscc"}, InvalidInputError, "scheme: got 'deepjscc'; only inverse"),
    ({"preview_every": -1}, InvalidInputError, "preview_every: got -1"),
    ({"inversion": InversionOptions(generator="cats")}, ModelNotFoundError, "got 'cats'"),
    (
        {"inversion": InversionOptions(steps=(5000,))},
        InvalidInputError,
        "inversion.steps: got 5000",
    ),
    ({"inversion": InversionOptions(mse_weight="much")}, InvalidInputError, "inversion.mse_weight"),  # type: ignore[arg-type]
    ({"inversion": InversionOptions(steps=(-1,))}, InvalidInputError, "inversion.steps"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("keywords", "error", "text"), REFUSED)
def test_refusals(
    kind: str,
    keywords: dict[str, Any],
    error: type[GenJSCCError],
    text: str,
    services: Services,
    local: LocalLink,
) -> None:
    with pytest.raises(error) as caught:
        watch(kind, services, local, **keywords)
    assert text in str(caught.value)


def test_the_callers_options_are_those_of_the_protocol() -> None:
    wire = [field.name for field in inversion_pb2.InversionOptions.DESCRIPTOR.fields]
    assert [field.name for field in fields(InversionOptions)] == wire
