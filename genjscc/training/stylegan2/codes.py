# SPDX-License-Identifier: Apache-2.0
"""Latent codes of real images, and the training of a mapping with the same distribution.

The code of an image is its scaled principal components plus a learned correction. The generator is
trained to decode codes, which covers all training faces from the start; the mapping is trained so
that w = mapping(z) has the distribution of the codes, by the images' discriminator and by a critic
that sees only codes.

Codes are centred: code = w - offset, where the constant offset keeps the mapping's leaky ReLUs
in their linear range at the start. `shift_latents` moves the offset between mapping and
synthesis, so that an exported generator is an ordinary StyleGAN2.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genjscc.bundles.store import CODES, read_generator_config, read_weights
from genjscc.errors import InvalidInputError
from receiver.stylegan2.generator import EqualLinear, Generator, ModulatedConv

_OFFSET_SIGMAS = 3.0
_GROUP = 8
_SVD_ITERATIONS = 2
_SPARE_COMPONENTS = 44
# Limits the first steps of the correction's last layer, which has thousands of inputs.
_CORRECTION_GAIN = 0.1


class CodeBasis(NamedTuple):
    """Principal components, scaled so that a code's squared norm is style_dim on average."""

    mean: Tensor
    """mean image [3 S S]"""
    components: Tensor
    """components [3 S S, style_dim]: code = (x - mean) @ components"""
    deviation: Tensor
    """standard deviation of each code axis [style_dim]: the scaled 4th root of its eigenvalue"""


def fit_basis(images: Tensor, style_dim: int, seed: int) -> CodeBasis:
    """Compute the basis of training images [N, 3, S, S] in [-1, 1] and their mirror images.

    Raises:
        InvalidInputError: there are fewer images than axes.
    """
    if len(images) < style_dim:
        raise InvalidInputError(
            "basis_images", f"got {len(images)} images; must be at least {style_dim}, one per axis"
        )
    mirrored = torch.cat([images[::2].flip(3), images[1::2]])
    rows = mirrored.flatten(1)
    mean = rows.mean(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        rank = min(style_dim + _SPARE_COMPONENTS, *rows.shape)
        _, singular, axes = torch.svd_lowrank(rows - mean, q=rank, niter=_SVD_ITERATIONS)
    eigenvalues = singular[:style_dim].square() / len(rows)
    # Axes weighted by the 4th root: between whitening, which inflates invisible axes, and
    # plain components, in which a handful of axes outweighs the rest.
    deviation = eigenvalues.clamp(min=1e-8).pow(0.25)
    scale = (style_dim / deviation.square().sum()).sqrt()
    components = axes[:, :style_dim] / deviation * scale
    return CodeBasis(mean, components.contiguous(), deviation * scale)


class CodeEncoder(nn.Module):
    """Encoder from images to codes: a fixed linear part plus a correction that starts at 0.

    Shapes: [B, 3, S, S] in [-1, 1] -> code [B, style_dim], correction [B, style_dim] in standard
    deviations.
    """

    mean: Tensor
    components: Tensor
    deviation: Tensor

    def __init__(self, basis: CodeBasis, image_size: int, width: int) -> None:
        super().__init__()
        for name, value in basis._asdict().items():
            self.register_buffer(name, value.clone())
        self.network: nn.Sequential | None = None
        if width:
            style_dim = len(basis.deviation)
            layers: list[nn.Module] = []
            channels, side = 3, image_size
            while side > 4:
                wider = width if channels == 3 else min(2 * channels, 8 * width)
                layers += [nn.Conv2d(channels, wider, 4, 2, 1), nn.GroupNorm(8, wider)]
                layers += [nn.LeakyReLU(0.2)]
                channels, side = wider, side // 2
            head = nn.Linear(channels * side * side, style_dim)
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
            self.network = nn.Sequential(*layers, nn.Flatten(), head)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(images.device.type, enabled=False):
            code = (images.float().flatten(1) - self.mean) @ self.components
        if self.network is None:
            return code, torch.zeros_like(code)
        correction = _CORRECTION_GAIN * self.network(images).float()
        return code + correction * self.deviation, correction


def read_codes(folder: Path, field: str, hint: str = "") -> dict[str, Tensor]:
    """Read the weights of the `CodeEncoder` in a generator's bundle.

    Args:
        folder: the bundle.
        field: the field that named it, for errors.
        hint: advice for a bundle without codes, for errors.

    Raises:
        InvalidInputError: there are no codes, because the generator was not trained by GenJSCC.
        BundleError: the bundle is broken.
    """
    declared = read_generator_config(folder)
    if CODES not in declared.files:
        raise InvalidInputError(
            field, f"{folder} has no {CODES}: it was not trained by GenJSCC{hint}"
        )
    return read_weights(folder / CODES, declared)


class LatentCritic(nn.Module):
    """Critic that separates codes of images from mapped latents, given also a group's spread.

    Shapes: codes [B, style_dim], B a multiple of 8, axes divided by sqrt(deviation) -> [B].
    """

    def __init__(self, style_dim: int, hidden: int = 512) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(style_dim, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.2),
        )
        self.score = nn.Linear(hidden + 1, 1)

    def forward(self, codes: Tensor) -> Tensor:
        with torch.autocast(codes.device.type, enabled=False):
            features = self.body(codes.float())
            groups = features.view(_GROUP, -1, features.shape[1])
            spread = (groups.var(0) + 1e-6).sqrt().mean(1).repeat(_GROUP)
            scores: Tensor = self.score(torch.cat([features, spread[:, None]], 1)).flatten()
        return scores


def sliced_wasserstein(a: Tensor, b: Tensor, directions: Tensor) -> Tensor:
    """Return the mean squared distance of sorted projections. [B, N] twice, [N, K] -> scalar."""
    unit = directions / directions.norm(dim=0)
    distance: Tensor = (torch.sort(a @ unit, 0).values - torch.sort(b @ unit, 0).values).square()
    return distance.mean()


def critic_loss(critic: LatentCritic, real: Tensor, fake: Tensor, penalty: float | None) -> Tensor:
    """Return the logistic loss, optionally with the gradient penalty R1 on real codes."""
    real = real.detach().requires_grad_(penalty is not None)
    scores = critic(real)
    loss = F.softplus(-scores).mean() + F.softplus(critic(fake.detach())).mean()
    if penalty is not None:
        (slope,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
        loss = loss + 0.5 * penalty * slope.square().sum(1).mean()
    return loss


def latent_offset(deviation: Tensor) -> Tensor:
    """Return the constant offset between w and codes, [style_dim]."""
    return _OFFSET_SIGMAS * deviation


@torch.no_grad()
def start_mapping(generator: Generator, deviation: Tensor) -> None:
    """Make the mapping linear: w = offset + deviation * normalised z, for all but 0.1 % of z."""
    linears = [layer for layer in generator.style if isinstance(layer, EqualLinear)]
    for i, layer in enumerate(linears):
        weight = torch.eye(len(deviation)) / math.sqrt(2)
        if i == len(linears) - 1:
            weight = weight * deviation[:, None].cpu()
        layer.weight.copy_(weight / layer.scale)
        layer.bias.fill_(_OFFSET_SIGMAS / math.sqrt(2) / layer.rate if i == 0 else 0.0)


@torch.no_grad()
def shift_latents(generator: Generator, by: Tensor) -> None:
    """Shift the synthesis input, so that ws gives the image that ws + by gave before."""
    for module in generator.modules():
        if isinstance(module, ModulatedConv):
            linear = module.modulation
            linear.bias.add_(linear.weight @ by * linear.scale / linear.rate)
