# SPDX-License-Identifier: Apache-2.0
"""What the training of a start network is told."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from genjscc.training.config import GeneratorRunConfig


class LatentStartConfig(GeneratorRunConfig):
    """A run that learns where inversions through a generator begin.

    `width` is that of the start network; `symbol_channels` and `channel_steps` are what the pairs
    send while it learns.
    """

    pairs: tuple[Path, ...] = Field(
        min_length=1,
        description="folders of the DeepJSCC bundles whose images it sees, in equal parts",
    )
    sample_share: float = Field(
        0.25, ge=0, le=1, description="part of each batch that is the generator's own images"
    )
    linear_images: int = Field(
        4096,
        ge=0,
        description="samples of the generator from which the network's linear part is fitted in "
        "closed form, before anything else; 0: it begins at the mean latent",
    )
    stage1_images: int = Field(
        100_000, ge=1, description="training images of the stage whose loss sees images"
    )

    @model_validator(mode="after")
    def _begins_anew(self) -> Self:
        if self.initial_bundle is not None:
            raise ValueError("initial_bundle: a start network begins at the mean latent; leave out")
        return self

    @property
    def images(self) -> int:
        """Training images in all, repeats included."""
        return self.code_images + self.stage1_images
