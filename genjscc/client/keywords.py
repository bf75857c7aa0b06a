# SPDX-License-Identifier: Apache-2.0
"""The keyword arguments of every link's methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from dataclasses import fields, replace
from typing import TypedDict, cast

from genjscc.client.inversion import Inversion
from genjscc.client.options import Channel, Options, SchemeName
from genjscc.errors import InvalidInputError


class CommonKeywords(TypedDict, total=False):
    """The fields of `Options` that all images of `send_many` share."""

    rate: str | None
    model: str | None
    scheme: SchemeName | None
    seed: int | None
    channel: Channel
    told_snr_db: float | None
    inversion: Inversion | None


class SendKeywords(CommonKeywords, total=False):
    """The fields of `Options`."""

    snr_db: float


def options_for(keywords: SendKeywords) -> Options:
    """Options from keyword arguments.

    Raises:
        InvalidInputError: a keyword that there is not.
    """
    known_keys = [field.name for field in fields(Options)]
    unknown = set(keywords) - set(known_keys)
    if unknown:
        known = ", ".join(known_keys)
        raise InvalidInputError(sorted(unknown)[0], f"is not an option; there are {known}")
    return Options(**keywords)


def options_for_each(
    snr_db: float | Sequence[float], keywords: CommonKeywords
) -> Callable[[int], Options]:
    """Options of image number i: its own SNR and its own seed."""
    shared = options_for(cast("SendKeywords", keywords))

    def options(index: int) -> Options:
        own = snr_db
        if isinstance(own, Sized) and not isinstance(own, str):  # an array as well
            if index >= len(own):
                raise InvalidInputError("snr_db", f"got {len(own)} values for more images")
            own = own[index]
        seed = shared.seed if shared.seed is None else shared.seed + index
        return replace(shared, snr_db=own, seed=seed)

    return options
