# SPDX-License-Identifier: Apache-2.0
"""How well a generator can show given images: W+ and noise maps fitted without any channel.

The result is the ceiling of what InverseJSCC and GenerativeJSCC can reach with the generator.
Images are optimised together but independently: a batch gives what its images give alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genjscc.errors import InvalidInputError
from genjscc.evaluation.metrics import psnr
from genjscc.training.losses import PerceptualName, mse, perceptual
from receiver.stylegan2 import Generator

_BETAS = (0.9, 0.999)
_WARMUP_STEPS = 20
_SPREAD_DRAWS = 4096


@dataclass(frozen=True)
class InversionOptions:
    """The optimisation."""

    steps: int = 300
    rate: float = 0.05
    """Adam's, for latents in standard deviations per axis of w; cosine to 0 after a warm-up"""
    noise_rate: float = 0.05
    """Adam's, for the noise maps; 0: the fixed buffers"""
    mse_weight: float = 16.0
    """of the MSE on [0, 1] images"""
    perceptual: PerceptualName | None = "st-lpips-vgg"
    """joins the MSE with weight 1"""


@dataclass(frozen=True)
class Inversion:
    """Per image: what was found and how close it is. Distances are of 8-bit images."""

    ws: Tensor
    """[B, num_ws, style_dim]"""
    noise: list[Tensor]
    """one [B, 1, r, r] per noise input (the fixed buffers [1, 1, r, r] where they were kept)"""
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
    options: InversionOptions | None = None,
    progress: Callable[[int, Tensor], None] = lambda _step, _loss: None,
) -> Inversion:
    """Finds W+ latents and noise maps of images.

    Args:
        generator: frozen here; its parameters get no gradients.
        targets: [B, 3, S, S] in [0, 1], S the generator's size.
        options: the optimisation (None: the defaults).
        progress: called after each step with its number and the loss of each image [B].

    Raises:
        InvalidInputError: the targets have another shape.
    """
    options = options or InversionOptions()
    side = generator.size
    if targets.dim() != 4 or targets.shape[1:] != (3, side, side):
        raise InvalidInputError(
            "targets", f"shape {tuple(targets.shape)}, not [B, 3, {side}, {side}]"
        )
    batch, device = len(targets), targets.device
    spread = _latent_spread(generator)
    latents = torch.zeros(batch, generator.num_ws, generator.style_dim, device=device)
    latents.requires_grad_()
    noise = list(generator.fixed_noise())
    groups = [{"params": [latents], "peak": options.rate}]
    if options.noise_rate:
        noise = [torch.zeros(batch, 1, r, r, device=device) for r in generator.noise_sizes]
        groups.append({"params": [n.requires_grad_() for n in noise], "peak": options.noise_rate})
    optimizer = torch.optim.Adam(groups, lr=1.0, betas=_BETAS)
    distance = perceptual(options.perceptual).to(device) if options.perceptual else None

    def synthesis() -> Tensor:
        ws = generator.latent_avg + spread * latents
        return (generator.synthesis(ws, noise) + 1) / 2

    for step in range(options.steps):
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * _schedule(step, options.steps)
        images = synthesis()
        loss = options.mse_weight * mse(images, targets)
        if distance is not None:
            loss = loss + distance(images, targets)
        variables = [v for group in optimizer.param_groups for v in group["params"]]
        gradients = torch.autograd.grad(loss.sum(), variables)
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.grad = gradient
        optimizer.step()
        if options.noise_rate:
            _limit_to_sphere(noise)
        progress(step, loss.detach())
    with torch.no_grad():
        ws = generator.latent_avg + spread * latents
        images = (synthesis().clamp(0, 1) * 255).round() / 255
        return Inversion(
            ws=ws,
            noise=[n.detach() for n in noise],
            images=images,
            psnr_db=psnr(targets, images).float(),
            st_lpips_alex=_distance("st-lpips-alex", images, targets),
            st_lpips_vgg=_distance("st-lpips-vgg", images, targets),
        )


def _schedule(step: int, steps: int) -> float:
    warmup = min(1.0, (step + 1) / _WARMUP_STEPS)
    return warmup * 0.5 * (1 + math.cos(math.pi * step / steps))


@torch.no_grad()
def _latent_spread(generator: Generator) -> Tensor:
    """Standard deviation of each axis of w: the natural unit of a step. -> [style_dim]."""
    draws = torch.Generator().manual_seed(0)
    z = torch.randn(_SPREAD_DRAWS, generator.style_dim, generator=draws)
    return generator.mapping(z.to(generator.latent_avg.device)).std(0)


@torch.no_grad()
def _limit_to_sphere(noise: list[Tensor]) -> None:
    """Shrinks maps with more energy than white noise has: the generator knows no others."""
    for maps in noise:
        rms = maps.square().mean((1, 2, 3), keepdim=True).sqrt()
        maps.div_(rms.clamp(min=1.0))


def _distance(name: PerceptualName, images: Tensor, targets: Tensor) -> Tensor:
    network: nn.Module = perceptual(name).to(images.device)
    values: Tensor = network(images, targets)
    return values
