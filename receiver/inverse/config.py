# SPDX-License-Identifier: Apache-2.0
"""What an inversion is told: eq. 12-14 of the paper with the values of ILO's public run.

ILO is Daras et al., Intermediate Layer Optimization for Inverse Problems using Deep Generative
Models (ICML 2021, arXiv:2102.07364).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from genjscc.errors import InvalidInputError, quoted
from genjscc.layers.precision import Precision
from genjscc.quality.perceptual import PerceptualName

NUM_STAGES = 4

Steps = Annotated[int, Field(ge=0, le=100_000)]
Rate = Annotated[float, Field(ge=0, le=100)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class InverseConfig(BaseModel):
    """The optimisation; the defaults are the paper's, and ILO's where the paper refers to it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    steps: tuple[Steps, ...] = Field(
        (50, 50, 25, 25),
        min_length=1,
        max_length=NUM_STAGES,
        description="steps of each stage of eq. 14; 0 passes over a stage",
    )
    cuts: tuple[int, int, int] = Field(
        (1, 2, 3), description="the generator's first block of the stages 2, 3 and 4"
    )
    noise_limits: tuple[int, int, int, int] = Field(
        (5, 7, 9, 11), description="how many noise maps are optimised in each stage"
    )

    learning_rate: Rate = Field(
        0.1, description="Adam's at its peak, for latents in standard deviations per axis of w"
    )
    noise_rate: Rate = Field(0.1, description="likewise for the noise maps; 0 keeps them")
    feature_rate: Rate = Field(0.1, description="likewise for what enters stages 2 to 4; 0 keeps")
    ramp_up: float = Field(0.05, ge=0, le=1, description="part of a stage in which rates rise")
    ramp_down: float = Field(0.75, ge=0, le=1, description="part in which they fall as a cosine")
    betas: tuple[Decay, Decay] = Field((0.9, 0.999), description="Adam's")

    mse_weight: Weight = Field(1.0, description="lambda 1: MSE of A(G) and the received image")
    perceptual_weight: Weight = Field(1.0, description="lambda 2: perceptual distance of the same")
    regularization_weight: Weight = Field(1.0, description="lambda 3: of the two terms below")
    image_perceptual_weight: Weight = Field(
        0.1, description="lambda 4: perceptual distance of G and the received image"
    )
    geodesic_weight: Weight = Field(0.01, description="lambda 5: angles between layers' latents")
    perceptual: PerceptualName = Field("st-lpips-vgg", description="the perceptual distance")
    perceptual_every: int = Field(
        1, ge=1, description="it joins every so many steps, with as many times the weight"
    )
    channel_noise: Literal["fresh", "fixed", "none"] = Field(
        "fresh", description="noise of A: drawn for each step, drawn once, or none"
    )

    start: Literal["mean", "learned", "auto"] = Field(
        "mean",
        description="latents to begin with: the mean, what the generator's start network reads "
        "from the received image, or the latter where there is such a network",
    )
    noise_start: Literal["random", "zero"] = Field("random", description="maps to begin with")
    latent_projection: Literal["sphere", "none"] = Field(
        "sphere", description="after each step: back to the length at the start, or free"
    )
    noise_projection: Literal["sphere", "ball", "none"] = Field(
        "sphere", description="likewise; ball: shrunk where louder than white noise"
    )

    patience: int = Field(
        0, ge=0, description="a stage ends after so many steps without improvement; 0: never"
    )
    tolerance: float = Field(
        0.01, ge=0, lt=1, description="relative decrease of the smoothed loss that counts as one"
    )
    dtype: Precision = Field(
        "float32", description="of the networks' arithmetic; auto: bfloat16 where it is native"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not 0 < self.cuts[0] < self.cuts[1] < self.cuts[2]:
            raise ValueError(f"cuts: got {list(self.cuts)}; must ascend from 1 or more")
        if min(self.noise_limits) < 0:
            raise ValueError(f"noise_limits: got {list(self.noise_limits)}; must not be negative")
        if not sum(self.steps):
            raise ValueError("steps: there is not one in all stages")
        return self

    @property
    def num_steps(self) -> int:
        """Of all stages."""
        return sum(self.steps)


PRESETS: dict[str, InverseConfig] = {
    "paper": InverseConfig(),
    # From a start network's guess, which a few small steps make agree with what was received. The
    # perceptual distance of G to the received image is left out: it makes G as blurred as that is.
    "fast": InverseConfig(
        steps=(4, 4),
        learning_rate=0.01,
        noise_rate=0.0,
        feature_rate=0.01,
        ramp_up=0.0,
        image_perceptual_weight=0.0,
        start="learned",
        noise_start="zero",
        noise_projection="ball",
        dtype="auto",
    ),
}


def inverse_config(preset: str, overrides: Mapping[str, Any]) -> InverseConfig:
    """A preset with some fields replaced.

    Raises:
        InvalidInputError: no such preset or field, or a value that does not fit; the text names
            it as a field of `inversion`.
    """
    base = PRESETS.get(preset)
    if base is None:
        known = ", ".join(PRESETS)
        raise InvalidInputError("inversion.preset", f"got {quoted(preset)}; there are {known}")
    try:
        return InverseConfig(**{**base.model_dump(), **overrides})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["inversion", *(str(part) for part in first["loc"])])
        got = f"got {quoted(first['input'])}; " if first["loc"] else ""
        raise InvalidInputError(where, got + first["msg"]) from error
