# SPDX-License-Identifier: Apache-2.0
"""Channel plug-ins: functions that the operator configures at startup.

A plug-in is a function of one codeword::

    def impulse(symbols, snr_db, rng, *, probability=0.01, power_db=20.0):
        ...
        return received

Its arguments are

- `symbols`: complex64 [k] of average power 1, a private copy;
- `snr_db`: the SNR of the request, in dB;
- `rng`: a NumPy Generator, seeded by the request's seed alone. A plug-in that uses no other source
  of randomness is reproducible for the same seed in any batch;
- the request's parameters, by name: keyword-only floats. Raise `InvalidInputError` to reject one.

It returns the received symbols: [k] finite complex numbers. Requests name plug-ins, never code.
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
    """A channel function with the names of all its parameters and of the required ones."""

    name: str
    function: ChannelFunction
    parameters: tuple[str, ...]
    required: tuple[str, ...]


def make_plugin(name: str, function: ChannelFunction) -> Plugin:
    """Wrap a function as a channel plug-in.

    Raises:
        InvalidInputError: the signature is not that of a plug-in.
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
    """Load the plug-ins of `module:function,module:function`, keyed by function name.

    Raises:
        InvalidInputError: a function cannot be found, is no channel, or has a duplicate name.
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
            raise InvalidInputError("plugins", f"duplicate plug-in name {name!r}")
        plugins[name] = make_plugin(name, function)
    return plugins


def checked_parameters(plugin: Plugin, given: Mapping[str, float], *, field: str) -> Parameters:
    """Check a request's parameters and return them sorted by name.

    Raises:
        InvalidInputError: a parameter is unknown, missing or not finite.
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
    """Send the symbols [k] of one codeword through a plug-in and return the received ones.

    Raises:
        RemoteError: the plug-in did not return k finite numbers.
        Exception: any exception of the plug-in.
    """
    rng = seeded_generator(seed)
    received = np.asarray(plugin.function(symbols.copy(), snr_db, rng, **dict(parameters)))
    if received.shape != symbols.shape or received.dtype.kind not in "cfiu":
        raise RemoteError(
            f"plug-in {plugin.name}: returned {received.dtype} {list(received.shape)}; must be "
            f"complex [{len(symbols)}]"
        )
    with np.errstate(over="ignore"):  # overflow gives inf, which is refused below
        symbols = received.astype(np.complex64)
    if not np.isfinite(symbols).all():
        raise RemoteError(f"plug-in {plugin.name}: returned numbers that are not finite")
    return symbols
