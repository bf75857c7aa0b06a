# SPDX-License-Identifier: Apache-2.0
"""Channels that are not GenJSCC's own: functions that the operator names at the start.

A plug-in is a function of one codeword::

    def impulse(symbols, snr_db, rng, *, probability=0.01, power_db=20.0):
        ...
        return received

It is given

- `symbols`: complex64 [k] of average power 1, a copy of its own;
- `snr_db`: what the request asks for, in dB;
- `rng`: NumPy's Generator, seeded by the request's seed alone. What is drawn from nowhere else is
  the same again for the same seed, whatever the batch;
- the request's parameters, by name: keyword-only floats. `InvalidInputError` refuses one.

It returns what arrives: [k] finite complex numbers. Requests name plug-ins and never code.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from inspect import Parameter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channel.noise import seeded_generator
from genjscc.errors import InvalidInputError, RemoteError, quoted

ChannelFunction = Callable[..., Any]
Parameters = tuple[tuple[str, float], ...]

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_ARGUMENTS = 3


@dataclass(frozen=True, eq=False)
class Plugin:
    """A channel function, and the names of its parameters: those there are, those it needs."""

    name: str
    function: ChannelFunction
    parameters: tuple[str, ...]
    required: tuple[str, ...]


def make_plugin(name: str, function: ChannelFunction) -> Plugin:
    """A function as a channel.

    Raises:
        InvalidInputError: it does not take what a plug-in is given.
    """
    if not callable(function):
        raise InvalidInputError("plugins", f"{name} is {quoted(function)}; must be a function")
    given = list(inspect.signature(function).parameters.values())
    keywords = [p for p in given if p.kind is Parameter.KEYWORD_ONLY]
    arguments = [p for p in given if p.kind in _POSITIONAL]
    if len(arguments) != _ARGUMENTS or len(arguments) + len(keywords) != len(given):
        raise InvalidInputError(
            "plugins",
            f"{name}{inspect.signature(function)} must be {name}(symbols, snr_db, rng, "
            "*, parameters ...)",
        )
    required = tuple(p.name for p in keywords if p.default is Parameter.empty)
    return Plugin(name, function, tuple(p.name for p in keywords), required)


def load_plugins(names: str) -> dict[str, Plugin]:
    """The plug-ins of `module:function,module:function`, by the functions' names.

    Raises:
        InvalidInputError: one cannot be found, is no channel, or has the name of another.
    """
    plugins: dict[str, Plugin] = {}
    for text in filter(None, (part.strip() for part in names.split(","))):
        module, colon, name = text.partition(":")
        if not (module and colon and name):
            raise InvalidInputError("plugins", f"got {quoted(text)}; must be module:function")
        try:
            function = getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise InvalidInputError("plugins", f"got {quoted(text)}; {error}") from error
        if name in plugins:
            raise InvalidInputError("plugins", f"{name!r} is there twice")
        plugins[name] = make_plugin(name, function)
    return plugins


def checked_parameters(plugin: Plugin, given: Mapping[str, float], *, field: str) -> Parameters:
    """A request's parameters, in the order of their names.

    Raises:
        InvalidInputError: one is unknown, missing or not finite.
    """
    known = _listed(plugin.parameters)
    for name, value in given.items():
        if name not in plugin.parameters:
            raise InvalidInputError(field, f"got {quoted(name)}; {plugin.name} has {known}")
        if not math.isfinite(value):
            raise InvalidInputError(f"{field}.{name}", f"got {value}; must be finite")
    missing = [name for name in plugin.required if name not in given]
    if missing:
        raise InvalidInputError(field, f"{_listed(missing)} missing; {plugin.name} has no default")
    return tuple(sorted(given.items()))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def run_plugin(
    plugin: Plugin,
    symbols: NDArray[np.complex64],
    snr_db: float,
    seed: int,
    parameters: Parameters,
) -> NDArray[np.complex64]:
    """What is left of the symbols [k] of one codeword.

    Raises:
        RemoteError: the plug-in did not return k finite numbers.
        Exception: what the plug-in raised.
    """
    rng = seeded_generator(seed)
    answer = plugin.function(symbols.copy(), snr_db, rng, **dict(parameters))
    received = np.asarray(answer)
    if received.shape != symbols.shape or received.dtype.kind not in "cfiu":
        raise RemoteError(
            f"plug-in {plugin.name}: returned {received.dtype} {list(received.shape)}; must be "
            f"complex [{len(symbols)}]"
        )
    with np.errstate(over="ignore"):  # what does not fit is not finite
        stored = received.astype(np.complex64)
    if not np.isfinite(stored).all():
        raise RemoteError(f"plug-in {plugin.name}: returned numbers that are not finite")
    return stored
