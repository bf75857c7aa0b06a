# SPDX-License-Identifier: Apache-2.0
"""Which of the models on offer a command means."""

from __future__ import annotations

from collections.abc import Sequence

from genjscc.client.options import ModelInfo
from genjscc.errors import ModelNotFoundError


def choose_model(offered: Sequence[ModelInfo], name: str | None, scheme: str | None) -> ModelInfo:
    """The model of that name; without one the default, or the first one trained for the scheme.

    Raises:
        ModelNotFoundError: there is none of that name.
    """
    for model in offered:
        if model.name == name:
            return model
    if name is not None:
        known = ", ".join(model.name for model in offered)
        raise ModelNotFoundError(f"model: got {name!r}; there are {known}")
    default = next(model for model in offered if model.is_default)
    if default.scheme == scheme:
        return default
    return next((model for model in offered if model.scheme == scheme), default)
