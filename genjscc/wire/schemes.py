# SPDX-License-Identifier: Apache-2.0
"""Schemes by name and by number."""

from __future__ import annotations

from typing import Literal

from genjscc.v1 import model_pb2

SchemeName = Literal["deepjscc", "generative", "inverse"]

SCHEMES: dict[SchemeName, model_pb2.Scheme.ValueType] = {
    "deepjscc": model_pb2.SCHEME_DEEP_JSCC,
    "generative": model_pb2.SCHEME_GENERATIVE_JSCC,
    "inverse": model_pb2.SCHEME_INVERSE_JSCC,
}


def scheme_label(number: int) -> str:
    """Return a scheme's name in the protocol, or the number of an unknown scheme."""
    known = model_pb2.Scheme.DESCRIPTOR.values_by_number.get(number)
    return known.name if known else str(number)
