# SPDX-License-Identifier: Apache-2.0
"""Keyword arguments of all links' methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set, Sized
from dataclasses import fields, replace
from fractions import Fraction
from typing import Any, TypedDict, cast

from genjscc.client.inversion import InversionOptions
from genjscc.client.options import Channel, Options, SchemeName, SnrKnowledge
from genjscc.client.validation import checked_options, checked_timeout
from genjscc.errors import InvalidInputError
from genjscc.wire.numbers import checked_seed

_NO_SEQUENCES = (str, bytes, bytearray, Mapping, Set)


class CommonKeywords(TypedDict, total=False):
    """The fields of `Options` that all images of `send_many` share, and a time.

    timeout_s: seconds for each image of this call, in place of the link's; a link in this process
    has no limit.
    """

    rate: str | float | Fraction | None
    model: str | None
    scheme: SchemeName | None
    seed: int | None
    channel: Channel | str
    told_snr_db: float | None
    inversion: InversionOptions | None
    snr: SnrKnowledge
    timeout_s: float | None


class SendKeywords(CommonKeywords, total=False):
    """The fields of `Options`, and a time."""

    snr_db: float


def options_for(keywords: SendKeywords) -> Options:
    """Build options from keyword arguments.

    Raises:
        InvalidInputError: a keyword that there is not, or a value of the wrong type.
    """
    return checked_options(_options(keywords))


def time_for(keywords: CommonKeywords | SendKeywords, of_link: float) -> float:
    """Seconds for an image: those of the call, or of the link where it has none.

    Raises:
        InvalidInputError: no time above 0.
    """
    own = keywords.get("timeout_s")
    return of_link if own is None else checked_timeout(own)


def _options(keywords: SendKeywords) -> Options:
    known_keys = [field.name for field in fields(Options)]
    unknown = set(keywords) - {*known_keys, "timeout_s"}
    if unknown:
        known = ", ".join([*known_keys, "timeout_s"])
        raise InvalidInputError(sorted(unknown)[0], f"is not an option; there are {known}")
    time_for(keywords, 0.0)
    given: Any = {name: value for name, value in keywords.items() if name != "timeout_s"}
    return Options(**given)


def options_for_each(
    snr_db: float | Sequence[float], keywords: CommonKeywords
) -> Callable[[int], Options]:
    """Return the options of image number i, with its own SNR and seed.

    Values are checked with each image, which then has its own error; names at once.
    """
    shared = _options(cast("SendKeywords", keywords))
    several = isinstance(snr_db, Sized) and not isinstance(snr_db, _NO_SEQUENCES)  # arrays too

    def options(index: int) -> Options:
        own: Any = snr_db
        if several:
            if index >= len(own):
                raise InvalidInputError("snr_db", f"got {len(own)} values for more images")
            own = own[index]
        checked = checked_options(replace(shared, snr_db=own))
        seed = None if checked.seed is None else checked_seed(checked.seed + index)
        return replace(checked, seed=seed)

    return options
