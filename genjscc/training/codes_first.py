# SPDX-License-Identifier: Apache-2.0
"""Trainings around a frozen generator with a first stage that learns its latent codes directly.

A generator trained by GenJSCC decodes the codes of photographs
(`genjscc.training.stylegan2.codes`), so each training image has a latent that reproduces it. The
squared error to that latent trains the networks that send it and that estimate it from received
symbols or images, without a pass through generator and perceptual network.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from genjscc.training.config import GeneratorRunConfig
from genjscc.training.loop import PairTraining, Stage
from genjscc.training.stylegan2.codes import CodeBasis, CodeEncoder, latent_offset, read_codes

_CODES = 0

C = TypeVar("C", bound=GeneratorRunConfig)


class Codes(nn.Module):
    """Latent codes of photographs, by the encoder from the generator's own training.

    Their squared deviation from the mean is 1 on average over the axes.

    Raises:
        InvalidInputError: the generator was not trained by GenJSCC.
    """

    offset: Tensor

    def __init__(self, generator: Path, image_size: int) -> None:
        super().__init__()
        state = read_codes(generator, "code_images", "; must be 0")
        basis = CodeBasis(*(state[name] for name in CodeBasis._fields))
        first = state.get("network.0.weight")
        self.encoder = CodeEncoder(basis, image_size, 0 if first is None else len(first))
        self.encoder.load_state_dict(state)
        self.register_buffer("offset", latent_offset(basis.deviation))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Encode images. Shapes: [B, 3, S, S] in [0, 1] -> w [B, 1, style_dim]."""
        code: Tensor = self.encoder(2 * images.float() - 1)[0]
        return (code + self.offset).unsqueeze(1)


class CodesFirst(PairTraining[C]):
    """A run whose stage 0 learns latent codes, followed by the scheme's stages from 1."""

    def __init__(self, config: C, folder: Path, fabric: Fabric) -> None:
        super().__init__(config, folder, fabric)
        if config.code_images:
            self.codes = Codes(config.generator.resolve(), config.image_size).to(fabric.device)

    @abstractmethod
    def to_latent(self, pair: nn.Module) -> nn.Module:
        """Return the pair up to its latents, [B, style_dim] or [B, num_ws, style_dim]."""

    @abstractmethod
    def later_stages(self) -> Sequence[Stage]:
        """Return the stages of the scheme."""

    def plan(self) -> Sequence[Stage]:
        later = self.later_stages()
        return [Stage(self.config.code_images, later[0].shares), *later]

    def trained_module(self) -> nn.Module:
        return self.to_latent(self.pair) if self.stage == _CODES else self.pair

    def terms(self, images: Tensor, output: Tensor) -> dict[str, Tensor]:
        if self.stage != _CODES:
            return super().terms(images, output)
        latent = output.reshape(len(images), -1, self.codes.offset.numel())
        loss = (latent - self.codes(images)).square().mean()
        return {"loss": loss, "codes": loss}
