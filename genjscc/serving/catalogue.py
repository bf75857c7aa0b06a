# SPDX-License-Identifier: Apache-2.0
"""The models of a service, by name and by pair."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import nn

from genjscc.bundles.config import BundleConfig
from genjscc.bundles.store import find_bundles
from genjscc.errors import BundleError, InvalidInputError, ModelNotFoundError, quoted
from genjscc.layers.bottleneck import STRIDE
from genjscc.layers.precision import arithmetic
from genjscc.pixels import checked_padded_size
from genjscc.serving.settings import ModelSettings
from genjscc.v1 import model_pb2
from genjscc.wire.ratios import format_ratio, parse_ratio
from genjscc.wire.schemes import SCHEMES

N = TypeVar("N", bound=nn.Module)

log = logging.getLogger("genjscc")


@dataclass(frozen=True)
class LoadedModel(Generic[N]):
    """Encoder or decoder of a pair, in memory."""

    config: BundleConfig
    network: N

    @property
    def name(self) -> str:
        """Name of the bundle."""
        return self.config.name

    def rate(self, text: str) -> tuple[Fraction, int]:
        """Return bandwidth ratio and bottleneck channels for a request; "" is the highest ratio.

        Raises:
            InvalidInputError: not a ratio.
            ModelNotFoundError: not one that this model offers.
        """
        offered = self.config.channels_by_ratio
        ratio = parse_ratio(text) if text else max(offered)
        if ratio not in offered:
            names = ", ".join(format_ratio(one) for one in offered)
            raise ModelNotFoundError(
                f"bandwidth_ratio: got {quoted(text)}; model {self.name!r} offers {names}"
            )
        return ratio, offered[ratio]

    def padded_size(
        self, size: tuple[int, int], *, max_pixels: int, field: str = "image"
    ) -> tuple[int, int]:
        """Return height and width of an image after padding for the networks.

        Raises:
            InvalidInputError: more than `max_pixels`, or not what this model can carry.
        """
        padded = checked_padded_size(size, max_pixels=max_pixels, field=field)
        side = self.config.only_side
        if side is not None and padded != (side, side):
            raise InvalidInputError(
                field,
                f"got {size[1]}x{size[0]} pixels; model {self.name!r} carries images of "
                f"{side}x{side} only",
            )
        return padded

    def told_snr_db(self, snr_db: float) -> float:
        """Return the nearest SNR in dB for which the networks were trained.

        Beyond that range they do worse than at its end.
        """
        low, high = self.config.snr_db
        return min(max(snr_db, low), high)

    @property
    def smallest_size(self) -> tuple[int, int]:
        """Return the smallest padded size that this model can carry."""
        side = self.config.only_side or STRIDE
        return side, side


class Catalogue(Generic[N]):
    """The bundles in the settings' folder, loaded to the device; broken ones are skipped.

    Raises:
        BundleError: no good bundle, a pair that is there twice, or a default that is not there.
    """

    def __init__(self, settings: ModelSettings, load: Callable[[Path, BundleConfig], N]) -> None:
        try:
            self.device = torch.device(settings.device)
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise InvalidInputError("device", f"got {settings.device!r}: {reason}") from error
        self._arithmetic = arithmetic(settings.dtype, self.device.type)
        self._max_pixels = settings.max_pixels
        self.left_out: dict[str, BundleError] = {}
        """bundles that are broken, and why"""
        self._models: dict[str, LoadedModel[N]] = {}
        self._by_pair: dict[str, LoadedModel[N]] = {}
        for name, config in find_bundles(settings.bundles, self.leave_out).items():
            try:
                network = load(settings.bundles, config)
            except BundleError as error:
                self.leave_out(name, error)
            else:
                self._add(LoadedModel(config, self._placed(network)), settings.bundles)
        self._default = self._checked_default(settings)

    def leave_out(self, name: str, error: BundleError) -> None:
        """Report a bundle that is skipped; the others are served."""
        self.left_out[name] = error
        log.error("bundle left out", extra={"bundle": name, "reason": str(error)})

    def _add(self, model: LoadedModel[N], folder: Path) -> None:
        twin = self._by_pair.setdefault(model.config.pair_id, model)
        if twin is not model:
            raise BundleError(
                f"bundles {twin.name!r} and {model.name!r} in {folder} hold the same pair; "
                "remove one"
            )
        self._models[model.name] = model

    def _checked_default(self, settings: ModelSettings) -> str:
        name, there = settings.default_model, ", ".join(self._models)
        if name in self.left_out:
            raise BundleError(f"default model {name!r} is broken: {self.left_out[name]}")
        if not self._models:
            raise next(iter(self.left_out.values()))
        if name and name not in self._models:
            raise BundleError(
                f"default model {name!r} is not in {settings.bundles}; there: {there}"
            )
        return name or next(iter(self._models))

    def _placed(self, network: N) -> N:
        # Convolutions compute channel by channel fastest where a pixel's channels lie together;
        # activations follow the weights.
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)
        return network.to(self.device)

    def __iter__(self) -> Iterator[LoadedModel[N]]:
        return iter(self._models.values())

    def by_name(self, name: str) -> LoadedModel[N]:
        """Return the model with this name; "" is the default model.

        Raises:
            ModelNotFoundError: there is none.
        """
        try:
            return self._models[name or self._default]
        except KeyError:
            known = ", ".join(self._models)
            raise ModelNotFoundError(f"model: got {quoted(name)}; loaded here: {known}") from None

    def by_pair(self, pair_id: str) -> LoadedModel[N] | None:
        """Return the model for codewords of a pair: the pair's own, or else one that shares its
        encoder; None: there is neither.
        """
        own = self._by_pair.get(pair_id)
        if own is not None and own.config.codeword_pair_id == pair_id:
            return own
        others = (model for model in self if model.config.codeword_pair_id == pair_id)
        return next(others, None)

    def precision(self) -> contextlib.AbstractContextManager[object]:
        """Return the autocast context of the configured precision."""
        if self._arithmetic == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self._arithmetic)

    @property
    def dtype(self) -> str:
        """Name of the networks' precision: "float32" or "bfloat16"."""
        return str(self._arithmetic).removeprefix("torch.")

    def warm_up(self, run: Callable[[LoadedModel[N]], object]) -> None:
        """Run each model once, so that the first request does not pay for set-up."""
        for model in self._models.values():
            run(model)

    def messages(self) -> list[model_pb2.Model]:
        """Return the answer of ListModels, sorted by name."""
        return [
            model_pb2.Model(
                name=model.name,
                scheme=SCHEMES[model.config.scheme],
                pair_id=model.config.pair_id,
                bandwidth_ratios=[format_ratio(r) for r in model.config.channels_by_ratio],
                domain=model.config.domain,
                image_size=model.config.image_size,
                snr_db_min=model.config.snr_db[0],
                snr_db_max=model.config.snr_db[1],
                is_default=model.name == self._default,
                max_pixels=self._max_pixels,
                dtype=self.dtype,
                encoder_pair_id=shared.pair_id if (shared := model.config.shared_encoder) else "",
            )
            for _, model in sorted(self._models.items())
        ]
