# SPDX-License-Identifier: Apache-2.0
"""The adversarial term of a pair's loss, weighed by gradients."""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from genjscc.training.adversarial.discriminator import Discriminator, generator_loss, hinge
from genjscc.training.adversarial.features import DiscriminatorFeatures
from genjscc.training.distributed import mean_over_processes

# Steps between measurements of the gradients that set the term's weight.
_MEASURE_EVERY = 10
_MEMORY, _TINY = 0.8, 1e-12
_BETAS = (0.5, 0.99)


class AdversarialTerm:
    """A discriminator of reconstructions that is trained beside a pair.

    Args:
        calibration: some training images [N, 3, S, S] in [0, 1].
        share: gradient of the term on the reconstruction, relative to that of the other terms.
        learning_rate: Adam's, of the discriminator.
        seed: of its weights; the same on all processes.
        fabric: device, precision and processes.
    """

    def __init__(
        self, calibration: Tensor, *, share: float, learning_rate: float, seed: int, fabric: Fabric
    ) -> None:
        self._fabric, self._share = fabric, share
        size = calibration.shape[-1]
        torch.manual_seed(seed)
        self._features = DiscriminatorFeatures(size).to(fabric.device)
        with torch.no_grad():
            maps = self._features(_centred(calibration).to(fabric.device))
        self._heads = Discriminator(maps, size, pixels=True).to(fabric.device)
        self._optimizer = torch.optim.Adam(
            self._heads.parameters(), lr=learning_rate, betas=_BETAS, fused=True
        )
        self._ratio = 0.0

    def __call__(self, images: Tensor, x_hat: Tensor, loss: Tensor, step: int) -> dict[str, Tensor]:
        """Train the discriminator by one step, then judge the reconstructions.

        Args:
            images: [B, 3, S, S] in [0, 1].
            x_hat: their reconstructions, with a graph.
            loss: the other terms, from the same graph.
            step: number of the step.

        Returns:
            `adversarial`, the weighted term to add, and `hinge`, the discriminator's loss.
        """
        with self._fabric.autocast():
            fake = _centred(x_hat)
            fake_features = self._features(fake)
            with torch.no_grad():
                real = _centred(images)
                real_features = self._features(real)
            on_real = self._heads(real, real_features)
            on_fake = self._heads(fake.detach(), [level.detach() for level in fake_features])
            against = hinge(on_real, real=True) + hinge(on_fake, real=False)
        self._step(against)
        self._heads.requires_grad_(False)
        with self._fabric.autocast():
            towards = generator_loss(self._heads(fake, fake_features)).mean()
        self._heads.requires_grad_(True)
        if not self._ratio or step % _MEASURE_EVERY == 0:
            self._measure(loss, towards, x_hat)
        return {"adversarial": self._share * self._ratio * towards, "hinge": against}

    def _step(self, loss: Tensor) -> None:
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in self._heads.parameters() if p.grad is not None]
        flat = mean_over_processes(self._fabric, torch.cat([g.flatten() for g in gradients]))
        parts = torch.split(flat, [g.numel() for g in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        self._optimizer.step()

    def _measure(self, loss: Tensor, towards: Tensor, x_hat: Tensor) -> None:
        sizes = torch.stack(
            [
                torch.autograd.grad(term, x_hat, retain_graph=True)[0].square().mean()
                for term in (loss, towards)
            ]
        )
        rest, own = mean_over_processes(self._fabric, sizes).sqrt().tolist()
        keep = _MEMORY if self._ratio else 0.0
        self._ratio = keep * self._ratio + (1 - keep) * rest / max(own, _TINY)

    def state_dict(self) -> dict[str, Any]:
        """Return the term's part of a checkpoint."""
        return {
            "heads": self._heads.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "ratio": self._ratio,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's part."""
        self._heads.load_state_dict(state["heads"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._ratio = state["ratio"]


def _centred(images: Tensor) -> Tensor:
    return (2 * images - 1).contiguous(memory_format=torch.channels_last)
