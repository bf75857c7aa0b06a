# SPDX-License-Identifier: Apache-2.0
"""Optimiser of InverseJSCC: find the image of G that the link maps to the received image.

    w, n_G ─ G ─ x ─ f ─ eta ─ g ─ A(x)        compared with x_hat = g(z_hat): eq. 12
                 └──────────────────────────── compared with x_hat:            eq. 13

Intermediate-layer optimisation moves from the latents to the inputs of the generator's later
stages (eq. 14). Images are optimised in batches but independently, each with its own configuration,
stage, SNR, seed, Adam state and end. An image does not depend on its neighbours, and images may
join and leave between any two steps.

In a pass through G, an image enters at the first block of its stage:

    blocks      0 ─────── 1 ─────── 2 ─────── 3 ───── ... ── rgb
    stage 1     a b ───── a b ───── a b ───── a b
    stage 2               + c ───── c ─────── c
    stage 4                                   + d            one pass, no block wasted
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import chain, islice

import torch
from torch import Tensor

from channel.noise import Stream, unit_complex_gaussian
from genjscc.layers.bottleneck import num_symbols
from receiver.forward import ForwardOperator
from receiver.inverse.config import InverseConfig
from receiver.inverse.objective import Distance, Observation, Terms, geodesic, objective, observe
from receiver.inverse.schedule import Plateau, rate_factor
from receiver.inverse.variables import (
    Variables,
    checked_start,
    first_layer,
)
from receiver.stylegan2.generator import Generator, SynthesisState, latent_spread


@dataclass(frozen=True, eq=False)
class Problem:
    """The frozen networks and settings shared by the images of a batch.

    Attributes:
        generator: G.
        forward: A; None: A(x) = x, an inversion without a channel.
        distance: perceptual distance; None if no image has a weight for it.
        channels: bottleneck channels that the link sends (None: all).
        dtype: dtype of the networks.
    """

    generator: Generator
    forward: ForwardOperator | None
    distance: Distance | None
    channels: int | None = None
    dtype: torch.dtype = torch.float32
    spread: Tensor = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "spread", latent_spread(self.generator))

    @property
    def device(self) -> torch.device:
        """Device of the networks."""
        return self.spread.device

    def arithmetic(self) -> AbstractContextManager[object]:
        """Autocast context of A and of the distance."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)


@dataclass(frozen=True)
class Losses:
    """Losses of one image at one step: the terms of eq. 12 and 13, and their weighted sum."""

    total: float
    terms: Terms


class Inversion:
    """The state of one image's optimisation, advanced by `step`.

    Args:
        problem: the shared networks and settings.
        x_hat: the received image [3, S, S] in [0, 1], S the generator's size.
        config: settings of the optimisation.
        snr_db: SNR of the channel in A, in dB.
        seed: seed of the noise maps and of the noise in A.
        start: initial latents, [style_dim] or [num_ws, style_dim]; None: the mean.

    Attributes:
        stage: 1 to 4.
        steps_done: number of steps over all stages.
        losses: losses of the last step; None before the first.
        image: image of the last step, finally the result: [3, S, S] in [0, 1].
        finished: whether the optimisation is complete.

    Raises:
        InvalidInputError: the configuration does not fit the generator.
    """

    def __init__(
        self,
        problem: Problem,
        x_hat: Tensor,
        config: InverseConfig,
        *,
        snr_db: float = 0.0,
        seed: int = 0,
        start: Tensor | None = None,
    ) -> None:
        checked_start(problem.generator, config)
        self.config, self.snr_db, self.seed = config, snr_db, seed
        with problem.arithmetic():
            self.observed: Observation = observe(x_hat.to(problem.device), problem.distance)
        self.variables = Variables(problem.generator, problem.spread, config, seed, start)
        self.stage, self.steps_done = 0, 0
        self.losses: Losses | None = None
        self.image = self.observed.image
        self.finished = False
        self._problem = problem
        self._step = 0
        self._plateau = Plateau(0, 0.0)
        self._next_stage()

    def weights(self) -> Terms:
        """Weights of the terms at the next step."""
        config = self.config
        if self._step % config.perceptual_every == 0:
            return config_weights(config, config.perceptual_every)
        return config_weights(config, 0)

    def unit_noise(self, k: int) -> Tensor:
        """Draw CN(0, 1) for the next step, complex64 [k]; zeros if A has no noise."""
        if self.config.channel_noise == "none":
            return torch.zeros(k, dtype=torch.complex64)
        number = self.steps_done if self.config.channel_noise == "fresh" else 0
        draws = unit_complex_gaussian(self.seed, k, Stream.INVERSION_CHANNEL, number)
        return torch.from_numpy(draws)

    def advance(self, image: Tensor, terms: Terms, gradients: Sequence[Tensor]) -> None:
        """Take one step along the gradients.

        Args:
            image: generated image, [3, S, S].
            terms: its terms; those of weight 0 are kept from the step before.
            gradients: gradients of the open variables.
        """
        config, steps = self.config, self.config.steps[self.stage - 1]
        if self.losses is not None:
            known = zip(terms, self.losses.terms, self.weights(), strict=True)
            terms = Terms(*(new if weight else old for new, old, weight in known))
        full = config_weights(config, 1)
        total = sum(weight * term for weight, term in zip(full, terms, strict=True))
        self.losses = Losses(total, terms)
        self.image = image.clamp(0, 1)
        factor = rate_factor(self._step, steps, config.ramp_up, config.ramp_down)
        self.variables.update(gradients, factor)
        self._step += 1
        self.steps_done += 1
        if self._plateau.reached(total) or self._step == steps:
            self._next_stage()

    def _next_stage(self) -> None:
        """Advance to the next stage that has steps, or to the end."""
        steps = self.config.steps
        while self.stage < len(steps):
            self.variables.enter(self.stage, self._entering() if self.stage else None)
            self.stage += 1
            if steps[self.stage - 1]:
                self._step = 0
                self._plateau = Plateau(self.config.patience, self.config.tolerance)
                return
        with torch.no_grad():
            self.image = synthesise(self._problem, [self.variables])[0].clamp(0, 1)
        self.finished = True

    @torch.no_grad()
    def _entering(self) -> SynthesisState:
        """Compute the next stage's input from the variables, [1, ...]."""
        stop = (0, *self.config.cuts)[self.stage]
        features, rgb = run_blocks(self._problem, [self.variables], stop)
        return SynthesisState(features.float().clone(), rgb.clone())


def config_weights(config: InverseConfig, perceptual: int) -> Terms:
    """Return the weights of the terms, the perceptual ones multiplied by `perceptual`."""
    return Terms(
        config.mse_weight,
        perceptual * config.perceptual_weight,
        perceptual * config.regularization_weight * config.image_perceptual_weight,
        config.regularization_weight * config.geodesic_weight,
    )


def step(problem: Problem, inversions: Sequence[Inversion]) -> None:
    """Run one step of each inversion; none may be finished."""
    # An image that enters the generator later is further back in the batch.
    items = sorted(inversions, key=lambda one: one.variables.first_block)
    images = synthesise(problem, [one.variables for one in items])
    with problem.arithmetic():
        reproduced = reproduce(problem, images, items)
        latents = torch.stack([one.variables.latents for one in items])
        first = [first_layer(one.variables.first_block) for one in items]
        totals, terms = objective(
            problem.distance,
            images,
            reproduced,
            [one.observed for one in items],
            geodesic(latents, torch.tensor(first, device=problem.device)),
            [one.weights() for one in items],
        )
    opened = [one.variables.open() for one in items]
    remaining = iter(torch.autograd.grad(totals.sum(), list(chain.from_iterable(opened))))
    results = zip(items, opened, images.detach(), terms.tolist(), strict=True)
    for one, variables, image, values in results:
        one.advance(image, Terms(*values), list(islice(remaining, len(variables))))


def reproduce(problem: Problem, images: Tensor, items: Sequence[Inversion]) -> Tensor:
    """Apply A to images, each with its own SNR and noise. [B, 3, S, S] -> the same."""
    forward = problem.forward
    if forward is None:
        return images
    height, width = images.shape[-2:]
    sent = forward.encoder.symbol_channels if problem.channels is None else problem.channels
    k = num_symbols(sent, (height, width))
    noise = torch.stack([one.unit_noise(k) for one in items]).to(images.device)
    snr_db = torch.tensor([one.snr_db for one in items], device=images.device)
    reproduced: Tensor = forward(images, snr_db, noise, problem.channels)
    return reproduced


def synthesise(problem: Problem, variables: Sequence[Variables]) -> Tensor:
    """Apply G to variables sorted by their first block. -> [B, 3, S, S], about [0, 1]."""
    return (run_blocks(problem, variables, problem.generator.num_blocks).rgb + 1) / 2


def run_blocks(problem: Problem, variables: Sequence[Variables], stop: int) -> SynthesisState:
    """Run the generator's blocks before `stop`; each image enters at its first block.

    Args:
        problem: the problem with the generator.
        variables: variables sorted by their first block.
        stop: a block after all first blocks.
    """
    latents = torch.stack([one.latents for one in variables]) * problem.spread
    maps = [torch.stack(same) for same in zip(*(one.maps for one in variables), strict=True)]
    entries = sorted({one.first_block for one in variables})
    state: SynthesisState | None = None
    inside = 0
    for block, end in zip(entries, [*entries[1:], stop], strict=True):
        entering = [one.entering for one in variables if one.first_block == block]
        inside += len(entering)
        state = joined(state, [one for one in entering if one is not None])
        state = problem.generator.run_blocks(
            latents[:inside],
            [one[:inside] for one in maps],
            state=state,
            start=block,
            stop=end,
            dtype=problem.dtype,
        )
    if state is None:
        raise ValueError("no variables")
    return state


def joined(
    state: SynthesisState | None, entering: Sequence[SynthesisState]
) -> SynthesisState | None:
    """Concatenate the images already in the generator and those that enter here."""
    states = [*([] if state is None else [state]), *entering]
    if not states:
        return None
    features = torch.cat([one.features.to(states[0].features.dtype) for one in states])
    return SynthesisState(features, torch.cat([one.rgb for one in states]))
