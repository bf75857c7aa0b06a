# SPDX-License-Identifier: Apache-2.0
"""Reconstruction limits of a generator: W+ and noise maps fitted to images without a channel.

The result is the ceiling for InverseJSCC and GenerativeJSCC with this generator. Images are
optimised together but independently: results do not depend on the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from genjscc.errors import InvalidInputError
from genjscc.quality.fast_backward import with_fast_backward
from genjscc.quality.metrics import psnr
from genjscc.quality.perceptual import PerceptualName, perceptual
from receiver.inverse.config import InverseConfig
from receiver.inverse.optimiser import Inversion, Problem, step
from receiver.stylegan2.generator import Generator

_WARMUP_STEPS = 20


def ceiling_config(steps: int = 300) -> InverseConfig:
    """Return a configuration with one stage over latents and all noise maps, fidelity only."""
    return InverseConfig(
        steps=(steps,),
        noise_limits=(99,) * 4,
        learning_rate=0.05,
        noise_rate=0.05,
        ramp_up=min(1.0, _WARMUP_STEPS / steps),
        ramp_down=1.0,
        mse_weight=16.0,
        regularization_weight=0.0,
        noise_start="zero",
        latent_projection="none",
        noise_projection="ball",
    )


@dataclass(frozen=True)
class Fit:
    """Fitted latents, noise maps and images with their distances, measured on 8-bit images."""

    ws: Tensor
    """[B, num_ws, style_dim]"""
    noise: list[Tensor]
    """one [B, 1, r, r] per noise input"""
    images: Tensor
    """[B, 3, S, S] in [0, 1], rounded to 8 bits"""
    psnr_db: Tensor
    """[B]"""
    st_lpips_alex: Tensor
    """[B]"""
    st_lpips_vgg: Tensor
    """[B]"""


def invert(
    generator: Generator,
    targets: Tensor,
    config: InverseConfig | None = None,
    progress: Callable[[int, Tensor], None] = lambda _step, _loss: None,
) -> Fit:
    """Find W+ latents and noise maps of images.

    Args:
        generator: frozen; its parameters must need no gradients.
        targets: [B, 3, S, S] in [0, 1], S the generator's size.
        config: the optimisation (None: `ceiling_config()`).
        progress: called after each step with the step number and the loss of each image [B].

    Raises:
        InvalidInputError: the targets have the wrong shape.
    """
    config = config or ceiling_config()
    side = generator.size
    if targets.dim() != 4 or targets.shape[1:] != (3, side, side):
        raise InvalidInputError(
            "targets", f"got shape {tuple(targets.shape)}; must be [B, 3, {side}, {side}]"
        )
    distance = None
    if config.perceptual_weight:
        distance = with_fast_backward(perceptual(config.perceptual)).to(targets.device)
    problem = Problem(generator, None, distance)
    inversions = [Inversion(problem, target, config) for target in targets]
    number = 0
    while active := [one for one in inversions if not one.finished]:
        step(problem, active)
        progress(number, torch.tensor([one.losses.total for one in inversions if one.losses]))
        number += 1
    with torch.no_grad():
        images = (torch.stack([one.image for one in inversions]) * 255).round() / 255
        latents = torch.stack([one.variables.latents for one in inversions])
        maps = zip(*(one.variables.maps for one in inversions), strict=True)
        return Fit(
            ws=(latents * problem.spread).detach(),
            noise=[torch.stack(same).detach() for same in maps],
            images=images,
            psnr_db=psnr(targets, images).float(),
            st_lpips_alex=_distance("st-lpips-alex", images, targets),
            st_lpips_vgg=_distance("st-lpips-vgg", images, targets),
        )


def _distance(name: PerceptualName, images: Tensor, targets: Tensor) -> Tensor:
    values: Tensor = perceptual(name).to(images.device)(images, targets)
    return values
