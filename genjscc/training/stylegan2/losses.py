# SPDX-License-Identifier: Apache-2.0
"""Losses of a StyleGAN2 step, on images and on latents."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from genjscc.quality.fast_backward import PerceptualFeatures
from genjscc.training.adversarial.discriminator import (
    Augmentation,
    Discriminator,
    generator_loss,
    hinge,
)
from genjscc.training.adversarial.features import DiscriminatorFeatures
from genjscc.training.stylegan2.codes import LatentCritic, critic_loss, sliced_wasserstein
from genjscc.training.stylegan2.config import StyleGAN2Config
from genjscc.training.stylegan2.frechet_matching import FrechetMatching, pooled
from receiver.stylegan2.generator import Generator

# Fraction of reconstructions among the discriminator's generated images.
_RECONSTRUCTION_SHARE = 0.5
_BALANCE_MEMORY, _TINY = 0.8, 1e-12
# R1 on the critic, computed every 4th step with 4 times the weight.
_PENALTY_EVERY, _PENALTY = 4, 0.5
_PROJECTIONS = 128
# Kinds of generated images for feature matching.
REBUILT, SAMPLED = 0, 1


@dataclass
class Balance:
    """Running means of pixel gradients, which set the weights of the adversarial terms.

    Each is the root mean square per pixel of a single term of weight 1. Measured together, the
    terms would raise their own weights.
    """

    reconstruction: float = 0.0
    on_rebuilt: float = 0.0
    on_samples: float = 0.0

    def note(self, reconstruction: float, on_rebuilt: float, on_samples: float) -> None:
        """Update with the measurements of one step."""
        keep = _BALANCE_MEMORY if self.reconstruction else 0.0
        self.reconstruction = keep * self.reconstruction + (1 - keep) * reconstruction
        self.on_rebuilt = keep * self.on_rebuilt + (1 - keep) * on_rebuilt
        self.on_samples = keep * self.on_samples + (1 - keep) * on_samples

    def weights(self) -> tuple[float, float]:
        """Return the weights at which the adversarial gradients, on reconstructions and on
        samples, are as large as the reconstruction's; 0 before the first measurement.
        """
        return (
            self.reconstruction / max(self.on_rebuilt, _TINY),
            self.reconstruction / max(self.on_samples, _TINY),
        )


@dataclass
class ImageLosses:
    """Losses and gradients of a step on images."""

    gradient: Tensor
    """gradient [B, 3, S, S] of the generator's losses, summed over the images"""
    discriminator: Tensor | None = None
    """the discriminator's loss, with its graph"""
    measured: tuple[Tensor, Tensor, Tensor] | None = None
    """arguments of `Balance.note`, of this process; at some steps only"""
    summary: Tensor | None = None
    """features [B, F] for `FrechetMatching.note`, of this process; if features are matched"""
    values: dict[str, float] = field(default_factory=dict)
    """log values"""


def image_losses(
    config: StyleGAN2Config,
    perceptual: PerceptualFeatures | None,
    features: DiscriminatorFeatures,
    discriminator: Discriminator,
    matching: FrechetMatching | None,
    generated: Tensor,
    x: Tensor,
    draws: torch.Generator,
    *,
    weights: tuple[float, float, float] | None,
    measure: bool,
) -> ImageLosses:
    """Compute the losses of reconstructions and samples.

    Args:
        config: the run.
        perceptual: the distance of images to their reconstructions; None: that term is off.
        features: the discriminator's features.
        discriminator: heads on these features.
        matching: matching of their distributions; None: that term is off.
        generated: [B, 3, S, S] without graph: reconstructions of the first images of x, then
            samples.
        x: [N, 3, S, S] real images in [-1, 1].
        draws: random numbers of the augmentation.
        weights: weights of the adversarial terms on reconstructions and on samples, and of the
            matching; None: these terms are off.
        measure: whether to measure the terms' gradients separately, which costs a second pass.
    """
    split = config.reconstructions
    generated = generated.contiguous(memory_format=torch.channels_last).requires_grad_()
    distortion = (generated[:split] - x[:split]).square().mean((1, 2, 3)) / 4  # to [0, 1]
    loss = config.mse_weight * distortion.sum()
    values = {"mse": distortion.mean().item()}
    matched: list[Tensor] = []
    if perceptual is not None:
        with torch.no_grad():
            wanted = perceptual(x[:split])
        matched = perceptual(generated if matching is not None else generated[:split])
        distance = perceptual.distance([level[:split] for level in matched], wanted)
        loss = loss + config.perceptual_weight * distance.sum()
        values["st_lpips"] = distance.mean().item()
    if weights is None:
        return ImageLosses(torch.autograd.grad(loss, generated)[0], values=values)

    # Real image i and its reconstruction share their draws.
    count = max(len(generated), len(x))
    augment = Augmentation.draw(count, config.image_size, config.augment, draws).to(x.device)
    seen = augment.first(len(generated)).apply(generated)
    real = augment.first(len(x)).apply(x)
    seen_features = features(seen)
    rebuilt_features = [level[:split] for level in seen_features]
    with torch.no_grad():
        real_features = features(real)
    on_rebuilt = discriminator(seen[:split], rebuilt_features)
    on_samples = discriminator(seen[split:], [level[split:] for level in seen_features])
    # The terms on reconstructions and on samples are independent: one pass gives both gradients.
    adversarial = weights[0] * generator_loss(on_rebuilt).sum()
    adversarial = adversarial + weights[1] * generator_loss(on_samples).sum()
    summary = None
    if matching is not None:
        summary = pooled(matched_maps(features, matched, seen_features))
        drift = weights[2] * matching(REBUILT, summary[:split]).sum()
        adversarial = adversarial + drift + weights[2] * matching(SAMPLED, summary[split:]).sum()
        summary = summary.detach()
    measured = None
    if measure:
        plain = generator_loss(on_rebuilt).sum() + generator_loss(on_samples).sum()
        towards, pushed = (
            torch.autograd.grad(term, generated, retain_graph=True)[0] for term in (loss, plain)
        )
        measured = _rms(towards[:split]), _rms(pushed[:split]), _rms(pushed[split:])
    (gradient,) = torch.autograd.grad(loss + adversarial, generated, retain_graph=True)

    # The same graph serves the discriminator: no second pass of the generated images.
    on_real = discriminator(real, real_features)
    fake_loss = torch.lerp(
        hinge(on_samples, real=False), hinge(on_rebuilt, real=False), _RECONSTRUCTION_SHARE
    )
    real_loss = hinge(on_real, real=True)
    values |= {
        "adversarial_weight": weights[1],
        "hinge_real": real_loss.item(),
        "hinge_fake": fake_loss.item(),
    }
    return ImageLosses(gradient, real_loss + fake_loss, measured, summary, values)


def matched_maps(
    features: DiscriminatorFeatures, perceptual_maps: list[Tensor], maps: list[Tensor]
) -> list[Tensor]:
    """Return the feature maps whose means are matched: perceptual, then discriminator maps."""
    return [*perceptual_maps, *maps, features.deepest(maps)]


def _rms(gradient: Tensor) -> Tensor:
    return gradient.float().square().mean().sqrt()


def latent_gradients(
    config: StyleGAN2Config,
    generator: Generator,
    critic: LatentCritic,
    codes: Tensor,
    deviation: Tensor,
    offset: Tensor,
    draws: torch.Generator,
    *,
    step: int,
) -> tuple[dict[str, list[Tensor]], dict[str, float]]:
    """Compute the gradients of critic and mapping from codes alone.

    Args:
        config: the run.
        generator: the generator whose mapping is trained.
        critic: the critic that separates mapped latents from codes.
        codes: [N, style_dim] recent codes of real images.
        deviation: [style_dim], standard deviations of the codes' axes.
        offset: [style_dim], offset between w and codes.
        draws: random numbers of codes, z and projections.
        step: number of the step, which determines whether the critic's penalty is due.

    Returns:
        Gradients of the parameters of `critic` and `latent` (the mapping), and log values.
    """
    device, count = codes.device, config.latent_batch
    chosen = torch.randint(len(codes), (2, count), generator=draws).to(device)
    z = torch.randn(2, count, config.style_dim, generator=draws).to(device)
    directions = torch.randn(config.style_dim, _PROJECTIONS, generator=draws).to(device)
    scale = deviation.rsqrt()

    fake = (generator.mapping(z[0]) - offset) * scale
    penalty = None if step % _PENALTY_EVERY else _PENALTY * _PENALTY_EVERY
    against = critic_loss(critic, codes[chosen[0]] * scale, fake, penalty)
    for_critic = torch.autograd.grad(against, list(critic.parameters()))

    fake = (generator.mapping(z[1]) - offset) * scale
    real = codes[chosen[1]] * scale
    # With the critic alone the axes would shrink, which would cost coverage.
    spread = (fake.std(0) / real.std(0) - 1).square().mean()
    distance = sliced_wasserstein(fake, real, directions) + spread
    loss = F.softplus(-critic(fake)).mean() + distance
    for_mapping = torch.autograd.grad(loss, list(generator.style.parameters()))
    gradients = {"critic": list(for_critic), "latent": list(for_mapping)}
    return gradients, {"critic": against.item(), "latent_distance": distance.item()}
