# SPDX-License-Identifier: Apache-2.0
"""What `genjscc compare` sends: the links that suit the pictures, and what arrives over each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from genjscc.cli.console import err
from genjscc.cli.measuring import progress
from genjscc.client.availability import TITLES, for_photos, places
from genjscc.client.inversion import InversionOptions
from genjscc.client.local import LocalLink
from genjscc.client.options import Failure, ModelInfo, SchemeName
from genjscc.errors import InvalidInputError, needs
from genjscc.wire.ratios import parse_ratio

Rgb = NDArray[np.uint8]
_USUAL_RATE = "1/48"


class DigitalCode(StrEnum):
    """Channel codes of the digital link."""

    AUTO = "auto"
    LDPC = "ldpc"
    CAPACITY = "capacity"
    NONE = "none"

    def chosen(self, *, wanted: bool) -> DigitalCode:
        """In place of AUTO: none unless it is wanted; LDPC where Sionna is installed."""
        if self is not DigitalCode.AUTO:
            return self
        if not wanted:
            return DigitalCode.NONE
        return DigitalCode.LDPC if find_spec("sionna") else DigitalCode.CAPACITY


@dataclass(frozen=True)
class Series:
    """A column of each SNR: a model and how it decodes."""

    model: ModelInfo
    scheme: SchemeName


@dataclass(frozen=True)
class Received:
    """What a link made of a picture, with k channel symbols."""

    image: Rgb
    k: int


def suitable(
    offered: Sequence[ModelInfo],
    decoders: Sequence[ModelInfo],
    images: Sequence[Rgb],
    rate: str | None,
) -> list[Series]:
    """Every scheme for squares of a model's training size; DeepJSCC for other pictures.

    A scheme that is not on offer is named on standard error.

    Args:
        offered: models of the transmitter.
        decoders: models of the receiver.
        images: uint8 [H, W, 3].
        rate: bandwidth ratio; None: one that the schemes share.
    """
    shapes = {image.shape[:2] for image in images}
    height, side = next(iter(shapes))
    own = [model for model in offered if model.image_size == side]
    if len(shapes) > 1 or height != side or not own:
        return [Series(for_photos(offered), "deepjscc")]
    chosen = max(own, key=lambda m: (m.scheme == "deepjscc", m.is_default))
    painters = [model for model in own if model.scheme == "generative"][:1]
    rate = rate or shared_rate([chosen, *painters])
    found = []
    for scheme, place in places(own, decoders, chosen, rate, side).items():
        if place.model is None:
            err.print(f"without {TITLES[scheme]}: {place.reason}", markup=False, soft_wrap=True)
        else:
            found.append(Series(place.model, scheme))
    return found


def shared_rate(models: Sequence[ModelInfo]) -> str:
    """1/48 if all of them offer it, or the highest ratio that they share.

    Raises:
        InvalidInputError: there is none.
    """
    shared = set.intersection(*(set(model.bandwidth_ratios) for model in models))
    if not shared:
        raise InvalidInputError("--rate", "is missing; these models share none")
    return _USUAL_RATE if _USUAL_RATE in shared else max(shared, key=parse_ratio)


def over_model(
    link: LocalLink,
    images: Sequence[Rgb],
    rate: str,
    seed: int,
    inversion: InversionOptions | None,
    series: Series,
    snr_db: float,
) -> list[Received]:
    """Each picture over a learned link."""
    received = []
    name, scheme = series.model.name, series.scheme
    with progress(f"{name}, {scheme}, {snr_db:+g} dB", len(images)) as note:
        for outcome in link.send_many(
            images,
            snr_db=snr_db,
            rate=rate,
            model=name,
            scheme=scheme,
            seed=seed,
            inversion=inversion if scheme == "inverse" else None,
        ):
            if isinstance(outcome, Failure):
                raise outcome.error
            received.append(Received(outcome.image, outcome.codeword.k))
            note(outcome)
    return received


def over_digital(
    code: DigitalCode, codec: str, design_snr_db: float | None
) -> Callable[[Rgb, int, float, int], Received]:
    """A digital link: (image, k symbols, SNR in dB, seed) -> what arrives; grey if nothing does.

    Args:
        code: its channel code, LDPC or CAPACITY.
        codec: its image codec.
        design_snr_db: what it is made for; None: each SNR that it is used at.

    Raises:
        InvalidInputError: there is no such codec.
        MissingExtraError: the codec or Sionna is not installed.
    """
    with needs("models", "the digital link"):
        from genjscc.evaluation.separation.codecs import codec as codec_named
        from genjscc.evaluation.separation.link import DigitalLink
    chosen = codec_named(codec)
    if code is DigitalCode.LDPC:
        with needs("ldpc", "the digital link", otherwise=" (or take --digital capacity)"):
            import sionna.phy.fec.ldpc  # noqa: F401 (found now, not after the models' work)

    def send(image: Rgb, k: int, snr_db: float, seed: int) -> Received:
        design = snr_db if design_snr_db is None else design_snr_db
        link = DigitalLink(chosen, design, ideal=code is DigitalCode.CAPACITY)
        try:
            return Received(link.send(image, k, snr_db, seed=seed).image, k)
        except InvalidInputError:  # no code works with so few symbols at this SNR
            return Received(np.full_like(image, 128), k)

    return send
