# SPDX-License-Identifier: Apache-2.0
"""Selection of models and schemes by the names given to a command."""

from __future__ import annotations

from collections.abc import Sequence

from genjscc.client.options import ModelInfo, SchemeName
from genjscc.errors import ModelNotFoundError


def choose_model(offered: Sequence[ModelInfo], name: str | None, scheme: str | None) -> ModelInfo:
    """Return the model with this name; without one the default, or the first with the scheme.

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


def choose_models(offered: Sequence[ModelInfo], names: Sequence[str] | None) -> list[ModelInfo]:
    """Return the models with these names, or all. Raises ModelNotFoundError."""
    by_name = {model.name: model for model in offered}
    for name in names or ():
        if name not in by_name:
            raise ModelNotFoundError(f"model: got {name!r}; there are {', '.join(by_name)}")
    return [by_name[name] for name in names or by_name]


def scheme_name(text: str | None) -> SchemeName | None:
    """Return the name of a scheme without checking it; requests are checked when they are built."""
    return text  # type: ignore[return-value]
