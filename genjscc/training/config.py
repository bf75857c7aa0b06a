# SPDX-License-Identifier: Apache-2.0
"""Configurations of training runs, set by a YAML file or the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from genjscc.errors import InvalidInputError
from genjscc.layers.bottleneck import num_symbols
from genjscc.layers.stages import stage_widths
from genjscc.quality.perceptual import PerceptualName
from genjscc.training.augmentation import Augmentation
from receiver.generative import LatentSpace


def _names(value: object) -> object:
    """Normalise one name or none to a tuple of names."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


_Width = Annotated[int, Field(ge=2, multiple_of=2)]


class PairConfig(BaseModel):
    """Fields shared by the trainings of all schemes; their descriptions are the commands' help."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: Path = Field(description="folder of training images, searched recursively")
    val: Path = Field(description="folder of validation images")
    image_size: int = Field(64, multiple_of=16, ge=16, description="side of the training squares")
    augmentation: Augmentation = Field(
        Augmentation(), description="random framing of training images; see `Augmentation`"
    )
    initial_bundle: Path | None = Field(
        None,
        description="folder of a bundle whose weights a new run starts from (the encoder alone, "
        "where that is of another scheme); none: random",
    )

    width: _Width | tuple[_Width, _Width, _Width] = Field(
        256, description="c, channels of the networks, or those at 1/2, 1/4 and 1/8 of the side"
    )
    symbol_channels: int = Field(
        8, ge=2, multiple_of=2, description="C_out: bandwidth ratio rho = C_out/1536"
    )
    channel_steps: tuple[int, ...] = Field(
        (),
        description="one network for several rates: prefixes of C_out to train (empty: one rate)",
    )
    rate_weights: tuple[float, ...] = Field(
        (), description="how often each of channel_steps is drawn, relative; empty: equally often"
    )
    af: bool = Field(True, description="AF modules; without them the networks ignore the SNR")
    snr_db: tuple[float, float] = Field(
        (-5.0, 5.0), description="range of the SNR in dB, drawn uniformly for each image"
    )

    mse_weight: float = Field(1.0, ge=0, description="weight of the MSE on [0, 1] images")
    mse_scale: Literal["linear", "log"] = Field(
        "linear",
        description="log: the logarithm of each image's MSE, so that a decibel counts the same "
        "at every rate and SNR",
    )
    perceptual: Annotated[tuple[PerceptualName, ...], BeforeValidator(_names)] = Field(
        ("st-lpips-vgg",),
        description="perceptual distances in the loss, whose mean counts; null: none",
    )
    perceptual_weight: float = Field(1.0, ge=0, description="weight of their mean")
    perceptual_after: int = Field(
        0, ge=0, description="images seen before the perceptual term (costly) joins the MSE"
    )
    perceptual_side: int = Field(
        0,
        ge=0,
        multiple_of=16,
        description="side of the random window of each image that the perceptual term sees in "
        "training; 0: all of it",
    )
    grid_weight: float = Field(
        0.0,
        ge=0,
        description="weight of the grid share of the errors, which keeps dotted patterns out of "
        "reconstructions",
    )

    batch_size: int = Field(32, ge=1, description="images per step on each process")
    learning_rate: float = Field(1e-4, gt=0, description="Adam's, at its peak")
    betas: tuple[float, float] = Field((0.9, 0.99), description="Adam's")
    muon_learning_rate: float = Field(
        0.0,
        ge=0,
        description="Muon's, at its peak, for the convolutions of what is trained; 0: Adam for all",
    )
    clip_norm: float = Field(
        0.0, ge=0, description="longest gradient; 0: any. Holds large learning rates together"
    )
    warmup_images: int = Field(0, ge=0, description="images over which the rate rises from 0")
    schedule: Literal["plateau", "cosine", "wsd"] = Field(
        "plateau",
        description="plateau: x0.8 after 4 validations without improvement; "
        "cosine: down to 1 percent at the last image of a stage; wsd (warm-up, stable, decay): "
        "constant, then linearly down to 1 percent over the last decay_images of a stage",
    )
    decay_images: int = Field(0, ge=0, description="wsd only: length of the decay, in images")
    patience: int = Field(
        8, ge=1, description="plateau only: stop after so many validations without improvement"
    )
    ema_decay: float = Field(
        0.0, ge=0, lt=1, description="moving average of the weights, per step; 0: none"
    )
    seed: int = Field(1, ge=0, lt=2**22, description="of weights, order, SNR and noise")

    validate_every: int = Field(24_000, ge=1, description="training images between validations")
    validate_images: int = Field(512, ge=1, description="validation images used each time")
    validate_size: int = Field(
        0, ge=0, multiple_of=16, description="side of the validation squares; 0: image_size"
    )
    validate_snr_db: tuple[float, ...] = Field(
        (-5.0, 0.0, 5.0), min_length=1, description="SNRs in dB that validation reports"
    )
    checkpoint_every_s: float = Field(300.0, gt=0, description="seconds between checkpoints")
    workers: int = Field(0, ge=0, description="processes that decode images")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        steps = self.channel_steps
        if steps and (
            any(s < 2 or s % 2 for s in steps)
            or list(steps) != sorted(set(steps))
            or steps[-1] != self.symbol_channels
        ):
            raise ValueError(
                f"channel_steps: got {list(steps)}; even, ascending, the last one equal to "
                f"symbol_channels ({self.symbol_channels})"
            )
        if self.rate_weights and (
            len(self.rate_weights) != len(steps) or not sum(self.rate_weights) > 0
        ):
            raise ValueError(
                f"rate_weights: got {len(self.rate_weights)}; must be one for each of "
                f"channel_steps ({len(steps)}), not all 0"
            )
        if self.snr_db[0] > self.snr_db[1]:
            raise ValueError(f"snr_db: got {self.snr_db}; the lower end comes first")
        if self.perceptual_side > self.image_size:
            raise ValueError(
                f"perceptual_side: got {self.perceptual_side}; must be at most image_size "
                f"({self.image_size})"
            )
        return self

    @property
    def num_symbols(self) -> int:
        """Number of symbols k at the highest rate."""
        return num_symbols(self.symbol_channels, (self.image_size, self.image_size))

    @property
    def validation_size(self) -> int:
        """Side of the validation squares in pixels."""
        return self.validate_size or self.image_size

    @property
    def rates(self) -> tuple[int | None, ...]:
        """Arguments of the link at each trained rate."""
        return self.channel_steps or (None,)


class DeepJSCCConfig(PairConfig):
    """A DeepJSCC training run."""

    images: int = Field(1_000_000, ge=1, description="training images in all, repeats included")
    linear_path: bool = Field(
        False, description="a linear code beside the networks, which start at zero"
    )
    linear_images: int = Field(
        0, ge=0, description="images of a first stage, in which the linear path alone learns"
    )
    linear_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="share of Adam's learning rate that the linear path has afterwards; a large "
        "one moves it away from the optimum that it starts at",
    )
    freeze_encoder: bool = Field(
        False,
        description="train the decoder alone, for the encoder of initial_bundle: one codeword "
        "then serves both decoders",
    )
    adversarial: float = Field(
        0.0,
        ge=0,
        description="gradient of the adversarial term, relative to that of the other terms; "
        "0: none",
    )
    adversarial_after: int = Field(
        0, ge=0, description="images seen before the adversarial term joins the others"
    )
    discriminator_learning_rate: float = Field(
        2e-3, gt=0, description="Adam's, of the discriminator"
    )

    @model_validator(mode="after")
    def _linear_stage_has_a_path(self) -> Self:
        if self.linear_images and not self.linear_path:
            raise ValueError("linear_images: got some, but linear_path is false; must be 0")
        if self.linear_images >= self.images:
            raise ValueError(
                f"linear_images: got {self.linear_images}; must be below images ({self.images})"
            )
        return self

    @model_validator(mode="after")
    def _frozen_encoder_is_given(self) -> Self:
        if self.freeze_encoder and self.initial_bundle is None:
            raise ValueError("freeze_encoder: got true; initial_bundle must name its bundle")
        if self.freeze_encoder and self.linear_images:
            raise ValueError("linear_images: got some; must be 0 with freeze_encoder")
        return self


class GeneratorRunConfig(PairConfig):
    """Fields shared by the trainings around a frozen generator."""

    generator: Path = Field(description="folder of the frozen generator's bundle")
    code_images: int = Field(
        0,
        ge=0,
        description="training images of a first stage, in which latents learn the codes that the "
        "generator was trained to decode, which costs no pass through it; 0: none",
    )

    @model_validator(mode="after")
    def _one_width(self) -> Self:
        if not isinstance(self.width, int):
            raise ValueError(f"width: got {self.width}; must be one number around a generator")
        return self

    @property
    def channels(self) -> int:
        """Number of channels c, the same at every resolution."""
        return stage_widths(self.width)[0]


class GenerativeJSCCConfig(GeneratorRunConfig):
    """A GenerativeJSCC training run, in the paper's two stages (Section IV-B)."""

    latent: LatentSpace = Field("w", description="w: one style for all layers, w+: one for each")
    latent_layers: int = Field(4, ge=1, description="linear layers from the initial latent to L")
    latent_grid: Literal[1, 2, 4] = Field(
        1, description="cells, each way, that features are averaged to before P_l; the paper's is 1"
    )
    latent_part: int = Field(
        0, ge=0, le=4096, description="numbers that each P_l makes; 0: style_dim / 8, as the paper"
    )
    noise: bool = Field(True, description="noise maps P_n; without them there is one stage only")
    stage1_images: int = Field(
        1_000_000, ge=0, description="training images of stage 1, in which the P_n do not learn"
    )
    stage2_images: int = Field(
        250_000,
        ge=0,
        description="training images of stage 2: the P_n learn, the rest at stage2_share of the "
        "rate; 0: none yet (a run that is given some later goes on)",
    )
    stage2_share: float = Field(
        0.01, gt=0, le=1, description="of the learning rate, for all but the P_n in stage 2"
    )

    @model_validator(mode="after")
    def _has_a_stage(self) -> Self:
        if self.stage1_images + self.stage2_images == 0:
            raise ValueError("stage1_images and stage2_images: got 0 for both")
        if self.stage2_images and not self.noise:
            raise ValueError("stage2_images: got some, but without noise maps; must be 0")
        return self

    @property
    def images(self) -> int:
        """Total training images, repeats included."""
        return self.code_images + self.stage1_images + self.stage2_images


C = TypeVar("C", bound=BaseModel)


def load_config(kind: type[C], path: Path, overrides: dict[str, object]) -> C:
    """Read the fields of a YAML file and replace those given on the command line.

    Args:
        kind: the class of the run's configuration.
        path: the file.
        overrides: fields by name.

    Raises:
        InvalidInputError: naming the first field that is wrong.
    """
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InvalidInputError("config", f"{path}: {error}") from error
    if not isinstance(fields, dict):
        raise InvalidInputError("config", f"{path} holds no fields")
    try:
        return kind(**{**fields, **overrides})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "config"
        raise InvalidInputError(field, f"{first['msg']} (in {path})") from error
