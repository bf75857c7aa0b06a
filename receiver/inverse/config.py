# SPDX-License-Identifier: Apache-2.0
"""Configuration of an inversion: eq. 12-14 of the paper with the values of ILO's public run.

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
    """Settings of the optimisation; the defaults are the paper's, and ILO's if it refers to ILO."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    steps: tuple[Steps, ...] = Field(
        (50, 50, 25, 25),
        min_length=1,
        max_length=NUM_STAGES,
        description="steps of each stage of eq. 14; 0 skips a stage",
    )
    cuts: tuple[int, int, int] = Field(
        (1, 2, 3), description="the generator's first block of the stages 2, 3 and 4"
    )
    noise_limits: tuple[int, int, int, int] = Field(
        (5, 7, 9, 11), description="number of noise maps optimised in each stage"
    )

    learning_rate: Rate = Field(
        0.1, description="peak rate of Adam, for latents in standard deviations per axis of w"
    )
    noise_rate: Rate = Field(0.1, description="peak rate for the noise maps; 0: fixed")
    feature_rate: Rate = Field(
        0.1, description="peak rate for the features that enter stages 2 to 4; 0: fixed"
    )
    ramp_up: float = Field(0.05, ge=0, le=1, description="fraction of a stage with rising rates")
    ramp_down: float = Field(
        0.75, ge=0, le=1, description="fraction of a stage with rates falling as a cosine"
    )
    betas: tuple[Decay, Decay] = Field((0.9, 0.999), description="betas of Adam")

    mse_weight: Weight = Field(1.0, description="lambda 1: MSE of A(G) and the received image")
    perceptual_weight: Weight = Field(
        1.0, description="lambda 2: perceptual distance of A(G) and the received image"
    )
    regularization_weight: Weight = Field(1.0, description="lambda 3: factor of lambda 4 and 5")
    image_perceptual_weight: Weight = Field(
        0.1, description="lambda 4: perceptual distance of G and the received image"
    )
    geodesic_weight: Weight = Field(0.01, description="lambda 5: angles between layers' latents")
    perceptual: PerceptualName = Field("st-lpips-vgg", description="the perceptual distance")
    perceptual_every: int = Field(
        1,
        ge=1,
        description="interval of its evaluation in steps, with the weight scaled accordingly",
    )
    channel_noise: Literal["fresh", "fixed", "none"] = Field(
        "fresh", description="noise of A: drawn in each step, drawn once, or none"
    )

    start: Literal["mean", "learned", "auto"] = Field(
        "mean",
        description="initial latents: the mean, the estimate of the generator's initialiser from "
        "the received image, or the latter if there is an initialiser",
    )
    noise_start: Literal["random", "zero"] = Field("random", description="initial maps")
    latent_projection: Literal["sphere", "none"] = Field(
        "sphere", description="projection after each step: to the initial length, or none"
    )
    noise_projection: Literal["sphere", "ball", "none"] = Field(
        "sphere", description="projection of maps; ball: shrunk if above white noise"
    )

    patience: int = Field(
        0, ge=0, description="steps without improvement after which a stage ends; 0: never"
    )
    tolerance: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="relative decrease of the smoothed loss that counts as improvement",
    )
    dtype: Precision = Field(
        "float32", description="dtype of the networks; auto: bfloat16 if it is native"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not 0 < self.cuts[0] < self.cuts[1] < self.cuts[2]:
            raise ValueError(f"cuts: got {list(self.cuts)}; must ascend from 1 or more")
        if min(self.noise_limits) < 0:
            raise ValueError(f"noise_limits: got {list(self.noise_limits)}; must not be negative")
        if not sum(self.steps):
            raise ValueError("steps: all stages have 0; must be at least 1 in one stage")
        return self

    @property
    def num_steps(self) -> int:
        """Total number of steps."""
        return sum(self.steps)


PRESETS: dict[str, InverseConfig] = {
    "paper": InverseConfig(),
    # A few small steps from the initialiser's estimate make it agree with the received image. The
    # perceptual distance of G to the received image is left out: it would make G just as blurred.
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
    """Return a preset with some fields replaced.

    Raises:
        InvalidInputError: the preset or field is unknown, or the value is invalid; the text names
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
