# SPDX-License-Identifier: Apache-2.0
"""Options, progress and summary of inversions."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from genjscc.display import card_html, image_html, line
from genjscc.errors import InvalidInputError
from genjscc.limits import PHOTO_LIMITS
from genjscc.v1 import inversion_pb2
from genjscc.wire.images import rgb_from_message


@dataclass(frozen=True)
class InversionOptions:
    """Options of an inversion by InverseJSCC; None takes the value of the preset.

    Attributes:
        preset: "paper" or "fast"; None: the receiver's default.
        generator: name of the generator; None: the receiver's default.
        seed: of the noise maps and the noise in the optimisation; None: 0.
        steps: of each of the up to four stages.
        cuts: the generator's first block of the stages 2, 3 and 4.
        noise_limits: how many noise maps are optimised in each of the four stages.
        learning_rate: Adam's for latents, in standard deviations per axis of w.
        noise_rate: likewise for noise maps; 0 keeps them.
        feature_rate: likewise for what enters the stages 2 to 4; 0 keeps it.
        ramp_up: part of a stage in which rates rise.
        ramp_down: part in which they fall.
        betas: Adam's.
        mse_weight: lambda 1 of eq. 12.
        perceptual_weight: lambda 2.
        regularization_weight: lambda 3.
        image_perceptual_weight: lambda 4 of eq. 13.
        geodesic_weight: lambda 5.
        perceptual: the perceptual distance, such as "st-lpips-vgg".
        perceptual_every: it joins every so many steps.
        channel_noise: in the optimisation: "fresh" for each step, "fixed" or "none".
        start: "mean", "learned", or "auto" for learned where the receiver can.
        noise_start: "random" or "zero".
        latent_projection: "sphere" or "none".
        noise_projection: "sphere", "ball" or "none".
        patience: steps without improvement that end a stage; 0: none do.
        tolerance: relative decrease of the loss that counts as improvement.
        dtype: "float32", "bfloat16", or "auto" for the latter where it is native.
    """

    preset: str | None = None
    generator: str | None = None
    seed: int | None = None
    steps: tuple[int, ...] | None = None
    cuts: tuple[int, int, int] | None = None
    noise_limits: tuple[int, int, int, int] | None = None
    learning_rate: float | None = None
    noise_rate: float | None = None
    feature_rate: float | None = None
    ramp_up: float | None = None
    ramp_down: float | None = None
    betas: tuple[float, float] | None = None
    mse_weight: float | None = None
    perceptual_weight: float | None = None
    regularization_weight: float | None = None
    image_perceptual_weight: float | None = None
    geodesic_weight: float | None = None
    perceptual: str | None = None
    perceptual_every: int | None = None
    channel_noise: str | None = None
    start: str | None = None
    noise_start: str | None = None
    latent_projection: str | None = None
    noise_projection: str | None = None
    patience: int | None = None
    tolerance: float | None = None
    dtype: str | None = None


@dataclass(frozen=True)
class InversionLosses:
    """Objective of eq. 12 and 13 at a step: its terms, and their weighted sum `total`."""

    total: float
    mse: float
    perceptual: float
    image_perceptual: float
    geodesic: float


@dataclass(frozen=True, eq=False, repr=False)
class InversionStep:
    """Progress of an inversion.

    Attributes:
        step: steps done.
        num_steps: steps in all, unless it ends early.
        stage: of the last step, 1 to 4.
        losses: of the last step.
        preview: what the generator showed then, uint8 [H, W, 3], where one was asked for.
    """

    step: int
    num_steps: int
    stage: int
    losses: InversionLosses
    preview: NDArray[np.uint8] | None

    def _facts(self) -> dict[str, object]:
        return {
            "step": f"{self.step} of {self.num_steps}",
            "stage": self.stage,
            "loss": f"{self.losses.total:.4f}",
        }

    def __repr__(self) -> str:
        return line("InversionStep", self._facts())

    def _repr_html_(self) -> str:
        figures = [] if self.preview is None else [image_html(self.preview)]
        return card_html(figures, self._facts())


@dataclass(frozen=True)
class InversionSummary:
    """Summary of a finished inversion.

    Attributes:
        generator: its name.
        start: "mean" or "learned".
        steps: done.
        losses: of the last step.
        seed: gives the same image again.
    """

    generator: str
    start: str
    steps: int
    losses: InversionLosses
    seed: int


def inversion_to_message(inversion: InversionOptions) -> inversion_pb2.InversionOptions:
    """Convert options to a message. Raises InvalidInputError for wrong types; the receiver checks
    ranges.
    """
    message = inversion_pb2.InversionOptions()
    for field in fields(inversion):
        value = getattr(inversion, field.name)
        if value is None:
            continue
        try:
            if isinstance(value, tuple | list):
                getattr(message, field.name).extend(value)
            else:
                setattr(message, field.name, value)
        except (TypeError, ValueError, AttributeError) as error:
            raise InvalidInputError(f"inversion.{field.name}", f"got {value!r}; {error}") from error
    return message


def read_losses(message: inversion_pb2.InversionLosses) -> InversionLosses:
    """Read losses from a message."""
    names = [field.name for field in fields(InversionLosses)]
    return InversionLosses(**{name: getattr(message, name) for name in names})


def read_step(message: inversion_pb2.InversionProgress) -> InversionStep:
    """Read the progress of an inversion from a message of its stream."""
    preview = None
    if message.HasField("preview"):
        preview = rgb_from_message(message.preview, limits=PHOTO_LIMITS)
    losses = read_losses(message.losses)
    return InversionStep(message.step, message.num_steps, message.stage, losses, preview)


def read_summary(message: inversion_pb2.InversionSummary) -> InversionSummary:
    """Read the summary of an inversion from a response."""
    return InversionSummary(
        message.generator, message.start, message.steps, read_losses(message.losses), message.seed
    )
