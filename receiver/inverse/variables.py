# SPDX-License-Identifier: Apache-2.0
"""Optimisation variables of an inversion: W+ latents, noise maps, and inputs of later stages.

Latents are stored in standard deviations per axis of w, the natural unit of a step; the origin
is that of w, so that the mean latent has a non-zero length, which can be held fixed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.optim.adam import adam

from channel.noise import Stream, unit_complex_gaussian
from genjscc.errors import InvalidInputError
from receiver.inverse.config import InverseConfig
from receiver.stylegan2.generator import Generator, SynthesisState


def draw_maps(seed: int, sizes: Sequence[int], device: torch.device) -> list[Tensor]:
    """Draw standard normal maps [1, r, r] from a seed."""
    count = sum(side * side for side in sizes)
    pairs = unit_complex_gaussian(seed, -(-count // 2), Stream.INVERSION_MAPS)
    flat = torch.from_numpy(np.ascontiguousarray(pairs).view(np.float32) * math.sqrt(2))
    parts = torch.split(flat[:count], [side * side for side in sizes])
    return [part.reshape(1, side, side).to(device) for part, side in zip(parts, sizes, strict=True)]


class _Group:
    """Variables with one learning rate, and their Adam state.

    Uses the functional form: an Optimizer object imports PyTorch's compiler, which costs a service
    a second and 200 MB for nothing.
    """

    def __init__(self, variables: Sequence[Tensor], peak: float) -> None:
        self.variables = [one.requires_grad_() for one in variables]
        self._peak = peak
        self._averages = [torch.zeros_like(one) for one in variables]
        self._squares = [torch.zeros_like(one) for one in variables]
        self._steps = [torch.tensor(0.0) for _ in variables]

    @torch.no_grad()
    def update(
        self, gradients: Sequence[Tensor], factor: float, betas: tuple[float, float]
    ) -> None:
        """Take one step of Adam."""
        adam(
            self.variables,
            list(gradients),
            self._averages,
            self._squares,
            max_exp_avg_sqs=[],
            state_steps=self._steps,
            foreach=self._averages[0].is_cuda,
            amsgrad=False,
            beta1=betas[0],
            beta2=betas[1],
            lr=self._peak * factor,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )


class Variables:
    """Variables of one image.

    Attributes:
        latents: [num_ws, style_dim], in standard deviations.
        maps: [1, r, r] for each noise input.
        entering: input of the current stage; None in the first.
        first_block: first block of the current stage.
    """

    def __init__(
        self,
        generator: Generator,
        spread: Tensor,
        config: InverseConfig,
        seed: int,
        start: Tensor | None,
    ) -> None:
        device = spread.device
        ws = generator.latent_avg if start is None else start
        self.latents = (ws / spread).detach().expand(generator.num_ws, -1).clone()
        if config.noise_start == "random":
            self.maps = draw_maps(seed, generator.noise_sizes, device)
        else:
            self.maps = [torch.zeros(1, r, r, device=device) for r in generator.noise_sizes]
        self.entering: SynthesisState | None = None
        self.first_block = 0
        self._config = config
        self._lengths = _length(self.latents, 1)
        self._levels = [_length(one, (0, 1, 2)) for one in self.maps]
        self._groups: list[_Group] = []

    def enter(self, stage: int, entering: SynthesisState | None) -> None:
        """Open the variables of a stage, 0 to 3, with a fresh Adam state."""
        config = self._config
        self.entering = entering
        self.first_block = (0, *config.cuts)[stage]
        self._groups = [_Group([self.latents], config.learning_rate)]
        read = slice(first_layer(self.first_block), config.noise_limits[stage])
        open_maps = self.maps[read] if config.noise_rate else []
        if open_maps:
            self._groups.append(_Group(open_maps, config.noise_rate))
        if entering is not None and config.feature_rate:
            self._groups.append(_Group([entering.features], config.feature_rate))

    def open(self) -> list[Tensor]:
        """Return the tensors that the current stage optimises."""
        return [one for group in self._groups for one in group.variables]

    def update(self, gradients: Sequence[Tensor], factor: float) -> None:
        """Take one step of Adam, then project.

        Args:
            gradients: gradients of the open tensors.
            factor: factor of the learning rates.
        """
        remaining = iter(gradients)
        for group in self._groups:
            own = list(islice(remaining, len(group.variables)))
            group.update(own, factor, self._config.betas)
        with torch.no_grad():
            if self._config.latent_projection == "sphere":
                self.latents.mul_(self._lengths / _length(self.latents, 1))
            if self._config.noise_projection != "none":
                self._project_maps()

    def _project_maps(self) -> None:
        for one, level in zip(self.maps, self._levels, strict=True):
            now = _length(one, (0, 1, 2))
            if self._config.noise_projection == "ball":
                # The generator was trained on white noise only: maps must not have more energy.
                one.mul_((math.sqrt(one.numel()) / now).clamp(max=1.0))
            else:
                one.mul_(level / now)


def first_layer(block: int) -> int:
    """Return the index of the first latent, and of the first noise map, that a block reads."""
    return max(0, 2 * block - 1)


def _length(x: Tensor, dims: int | tuple[int, ...]) -> Tensor:
    return x.square().sum(dims, keepdim=True).sqrt().clamp(min=1e-9)


def checked_start(generator: Generator, config: InverseConfig) -> None:
    """Raise InvalidInputError if the stages or the maps do not fit the generator."""
    needed = max(i for i, steps in enumerate(config.steps) if steps)
    last = (0, *config.cuts)[needed]
    if last >= generator.num_blocks:
        raise InvalidInputError(
            "inversion.cuts",
            f"got {list(config.cuts)}; stage {needed + 1} would begin at block {last} of a "
            f"generator of {generator.num_blocks}",
        )
    if config.noise_start == "zero" and config.noise_projection == "sphere":
        raise InvalidInputError(
            "inversion.noise_projection",
            "got 'sphere' with noise_start 'zero'; 'ball' or 'none' fit it",
        )
