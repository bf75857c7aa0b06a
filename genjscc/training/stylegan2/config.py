# SPDX-License-Identifier: Apache-2.0
"""What a StyleGAN2 training run is told. A YAML file or the command line fills these fields."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class StyleGAN2Config(BaseModel):
    """A StyleGAN2 training run; the field texts are the command's help."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: Path = Field(description="folder of training images, searched recursively")
    val: Path = Field(description="folder of validation images")
    init: Path | None = Field(
        None,
        description="start of a new run: another run's checkpoint.pt, or the bundle it made",
    )

    widths: tuple[int, ...] = Field(
        (256, 256, 192, 96, 32),
        min_length=4,
        description="channels at 4, 8, 16, ... pixels; their number says the image's size",
    )
    style_dim: int = Field(256, ge=8, description="size of z and w")
    mapping_layers: int = Field(4, ge=1, description="layers of the mapping")
    noise_strength: float = Field(
        0.02, ge=0, description="strength of the noise inputs at the start"
    )
    noise_limits: tuple[float, float] = Field(
        (0.01, 0.025),
        description="learned strengths stay between these: noise matters, and does not become "
        "the speckle that the discriminator alone would make of it",
    )
    encoder_width: int = Field(
        48, ge=0, description="channels of the code encoder's network; 0: linear codes alone"
    )
    basis_images: int = Field(9000, ge=2, description="training images for the linear codes")

    mse_weight: float = Field(20.0, ge=0, description="reconstruction: MSE on [0, 1] images")
    perceptual_weight: float = Field(1.0, ge=0, description="reconstruction: ST-LPIPS (Alex)")
    perceptual_after: int = Field(
        30_000, ge=0, description="images seen before the perceptual term joins"
    )
    adversarial_after: int = Field(
        60_000, ge=0, description="images seen before the adversarial terms join"
    )
    adversarial_ramp: int = Field(
        5_000, ge=0, description="images over which the adversarial weights then rise from 0"
    )
    adversarial_samples: float = Field(
        0.5,
        ge=0,
        description="adversarial gradient on samples, as a share of the "
        "reconstruction's (root mean square per pixel)",
    )
    adversarial_reconstructions: float = Field(0.4, ge=0, description="the same on reconstructions")
    matching: float = Field(
        0.0,
        ge=0,
        description="weight of the distance between the distributions of generated and of real "
        "features (those of discriminator and perceptual distance); 0: none",
    )
    matching_images: int = Field(
        4096, ge=64, description="images that the distributions are first measured on"
    )
    matching_keep: float = Field(
        0.98, ge=0, lt=1, description="share of the running distribution that a step keeps"
    )
    code_noise: float = Field(
        0.05, ge=0, description="noise on the codes of real images, in standard deviations"
    )
    code_penalty: float = Field(
        0.02, ge=0, description="weight of the squared code correction (encoder's network)"
    )
    style_mixing: float = Field(
        0.2, ge=0, le=1, description="share of steps whose samples mix two styles"
    )
    discriminator_side: int = Field(
        96, ge=64, multiple_of=32, description="pixels, each way, that the discriminator sees"
    )
    pixel_head: bool = Field(
        False, description="whether the discriminator looks at pixels as well as at features"
    )
    augment: float = Field(
        0.5, ge=0, le=1, description="probability of each augmentation the discriminator sees"
    )

    reconstructions: int = Field(10, ge=1, description="real images rebuilt per step and process")
    samples: int = Field(10, ge=2, description="samples of the prior per step and process")
    images: int = Field(
        2_000_000, ge=1, description="images through the generator in all, over all processes"
    )
    warmup_images: int = Field(
        4_000, ge=0, description="the first images of a run, over which the rates rise from 0"
    )
    cooldown_images: int = Field(
        150_000, ge=0, description="the last images, over which the rates fall to a tenth"
    )
    learning_rate: float = Field(2e-3, gt=0, description="Adam's, of the synthesis network")
    mapping_learning_rate: float = Field(
        2e-2, ge=0, description="of the mapping, from images (its weights count a hundredth)"
    )
    encoder_learning_rate: float = Field(2e-4, ge=0, description="of the code encoder's network")
    discriminator_learning_rate: float = Field(2e-3, gt=0, description="of the discriminator")
    latent_learning_rate: float = Field(
        5e-2, ge=0, description="of the mapping, from the latent critic; 0: no latent critic"
    )
    critic_learning_rate: float = Field(5e-4, gt=0, description="of the latent critic")
    latent_batch: int = Field(
        128, ge=16, multiple_of=8, description="codes per step and process for the latent critic"
    )
    code_queue: int = Field(
        8192, ge=16, description="recent codes of real images that the latent critic draws from"
    )
    betas: tuple[float, float] = Field((0.5, 0.99), description="Adam's, of all optimisers")
    gradient_limit: float = Field(
        0.0,
        ge=0,
        description="a network's gradient longer than so many times its running length is "
        "shortened to that; 0: none is",
    )
    ema_decay: float = Field(
        0.999, ge=0, lt=1, description="moving average of the generator's weights, per step"
    )
    seed: int = Field(1, ge=0, description="of weights, order and all draws")

    evaluate_every: int = Field(40_000, ge=1, description="images between evaluations")
    evaluate_images: int = Field(
        1000, ge=16, description="samples for FD-EffLite0; values compare at equal counts only"
    )
    reference_images: int = Field(2900, ge=16, description="validation images for FD-EffLite0")
    log_every: int = Field(50, ge=1, description="steps between rows of train.csv")
    checkpoint_every_s: float = Field(300.0, gt=0, description="seconds between checkpoints")
    workers: int = Field(0, ge=0, description="processes that decode images")

    @property
    def image_size(self) -> int:
        return int(4 * 2 ** (len(self.widths) - 1))

    @property
    def images_per_step(self) -> int:
        """On one process."""
        return self.reconstructions + self.samples

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        low, high = self.noise_limits
        if not 0 <= low <= self.noise_strength <= high:
            raise ValueError(
                f"noise_limits: got {low}, {high}; noise_strength {self.noise_strength} lies "
                "between them"
            )
        if self.matching and not self.perceptual_weight:
            raise ValueError("matching: needs the perceptual term (perceptual_weight is 0)")
        if self.matching and self.perceptual_after > self.adversarial_after:
            raise ValueError(
                f"matching: begins with the adversarial terms, at {self.adversarial_after} images "
                f"(adversarial_after); perceptual_after {self.perceptual_after} is later"
            )
        if self.code_queue < self.latent_batch:
            raise ValueError(
                f"code_queue: got {self.code_queue}, fewer than latent_batch {self.latent_batch}"
            )
        return self
