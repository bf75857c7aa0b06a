# SPDX-License-Identifier: Apache-2.0
"""Configuration of a StyleGAN2 training run, set by a YAML file or the command line."""

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
        description="initial weights of a new run: checkpoint.pt or bundle of another run",
    )

    widths: tuple[int, ...] = Field(
        (256, 256, 192, 96, 32),
        min_length=4,
        description="channels at 4, 8, 16, ... pixels; their number determines the image size",
    )
    style_dim: int = Field(256, ge=8, description="size of z and w")
    mapping_layers: int = Field(4, ge=1, description="number of mapping layers")
    noise_strength: float = Field(0.02, ge=0, description="initial strength of the noise inputs")
    noise_limits: tuple[float, float] = Field(
        (0.01, 0.025),
        description="range of the learned noise strengths: strong enough to matter, too weak for "
        "the speckle that the discriminator alone would favour",
    )
    encoder_width: int = Field(
        48, ge=0, description="channels of the code encoder's network; 0: linear codes only"
    )
    basis_images: int = Field(
        9000, ge=2, description="number of training images for the linear codes"
    )

    mse_weight: float = Field(20.0, ge=0, description="weight of the MSE on [0, 1] images")
    perceptual_weight: float = Field(1.0, ge=0, description="weight of ST-LPIPS (Alex)")
    perceptual_after: int = Field(
        30_000, ge=0, description="images seen before the perceptual term is added"
    )
    adversarial_after: int = Field(
        60_000, ge=0, description="images seen before the adversarial terms are added"
    )
    adversarial_ramp: int = Field(
        5_000, ge=0, description="images over which the adversarial weights then rise from 0"
    )
    adversarial_samples: float = Field(
        0.5,
        ge=0,
        description="adversarial gradient on samples, as a fraction of the "
        "reconstruction gradient (root mean square per pixel)",
    )
    adversarial_reconstructions: float = Field(
        0.4, ge=0, description="adversarial gradient on reconstructions, as such a fraction"
    )
    matching: float = Field(
        0.0,
        ge=0,
        description="weight of the distance between the distributions of generated and real "
        "features (of discriminator and perceptual distance); 0: none",
    )
    matching_images: int = Field(
        4096, ge=64, description="images for the first measurement of the distributions"
    )
    matching_keep: float = Field(
        0.98, ge=0, lt=1, description="decay of the running distributions, per step"
    )
    code_noise: float = Field(
        0.05, ge=0, description="noise on the codes of real images, in standard deviations"
    )
    code_penalty: float = Field(
        0.02, ge=0, description="weight of the squared code correction (encoder's network)"
    )
    style_mixing: float = Field(
        0.2, ge=0, le=1, description="fraction of steps whose samples mix two styles"
    )
    discriminator_side: int = Field(
        96, ge=64, multiple_of=32, description="side of the discriminator's input in pixels"
    )
    pixel_head: bool = Field(
        False, description="whether the discriminator has a head on pixels in addition to features"
    )
    augment: float = Field(
        0.5, ge=0, le=1, description="probability of each augmentation of the discriminator's input"
    )

    reconstructions: int = Field(
        10, ge=1, description="real images reconstructed per step and process"
    )
    samples: int = Field(10, ge=2, description="samples of the prior per step and process")
    images: int = Field(
        2_000_000, ge=1, description="total images through the generator, over all processes"
    )
    warmup_images: int = Field(
        4_000, ge=0, description="first images of a run, over which the learning rates rise from 0"
    )
    cooldown_images: int = Field(
        150_000, ge=0, description="last images, over which the learning rates fall to a tenth"
    )
    learning_rate: float = Field(2e-3, gt=0, description="learning rate of the synthesis network")
    mapping_learning_rate: float = Field(
        2e-2,
        ge=0,
        description="learning rate of the mapping for image losses (weights scaled by 1/100)",
    )
    encoder_learning_rate: float = Field(
        2e-4, ge=0, description="learning rate of the code encoder's network"
    )
    discriminator_learning_rate: float = Field(
        2e-3, gt=0, description="learning rate of the discriminator"
    )
    latent_learning_rate: float = Field(
        5e-2,
        ge=0,
        description="learning rate of the mapping for the critic's loss; 0: no latent critic",
    )
    critic_learning_rate: float = Field(
        5e-4, gt=0, description="learning rate of the latent critic"
    )
    latent_batch: int = Field(
        128, ge=16, multiple_of=8, description="codes per step and process for the latent critic"
    )
    code_queue: int = Field(
        8192, ge=16, description="size of the latent critic's queue of recent codes of real images"
    )
    betas: tuple[float, float] = Field((0.5, 0.99), description="betas of Adam, for all networks")
    gradient_limit: float = Field(
        0.0,
        ge=0,
        description="maximum norm of a network's gradient, in multiples of its running norm; "
        "0: no limit",
    )
    ema_decay: float = Field(
        0.999,
        ge=0,
        lt=1,
        description="decay of the moving average of the generator's weights, per step",
    )
    seed: int = Field(1, ge=0, description="seed of weights, order and all draws")

    evaluate_every: int = Field(40_000, ge=1, description="images between evaluations")
    evaluate_images: int = Field(
        1000, ge=16, description="samples for FD-EffLite0; values compare only at equal counts"
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
        """Images per step on one process."""
        return self.reconstructions + self.samples

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        low, high = self.noise_limits
        if not 0 <= low <= self.noise_strength <= high:
            raise ValueError(
                f"noise_limits: got {low}, {high}; must contain noise_strength "
                f"{self.noise_strength}"
            )
        if self.matching and not self.perceptual_weight:
            raise ValueError("matching: needs the perceptual term (perceptual_weight is 0)")
        if self.matching and self.perceptual_after > self.adversarial_after:
            raise ValueError(
                f"matching: starts with the adversarial terms, at {self.adversarial_after} images "
                f"(adversarial_after), but perceptual_after {self.perceptual_after} is later"
            )
        if self.code_queue < self.latent_batch:
            raise ValueError(
                f"code_queue: got {self.code_queue}; must be at least latent_batch, "
                f"{self.latent_batch}"
            )
        return self
