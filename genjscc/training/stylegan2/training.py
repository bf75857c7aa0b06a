# SPDX-License-Identifier: Apache-2.0
"""Training of the StyleGAN2 generator as a prior for inverse problems.

Half of each batch is reconstructed from the codes of real images, with a distortion and an
adversarial loss: every training face then has a latent, as inversion needs. The other half is
sampled from the prior, with an adversarial loss only. The mapping learns from the samples' images
and from a critic on the codes. A run from scratch first decodes linear codes with the MSE, then
adds the perceptual and the adversarial terms.

The same function trains on one CPU, one GPU or N processes (Lightning Fabric; gradients are
averaged). All randomness of a step comes from (seed, step, process), so a resumed run equals an
uninterrupted one.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader

from genjscc.training.adversarial.discriminator import Augmentation
from genjscc.training.data import ImageFolder, StepSampler, fingerprint, list_images
from genjscc.training.distributed import mean_over_processes, rows_of_processes
from genjscc.training.run import RunFolder, refuse_diverged
from genjscc.training.stylegan2.codes import shift_latents
from genjscc.training.stylegan2.config import StyleGAN2Config
from genjscc.training.stylegan2.frechet_matching import FrechetMatching, pooled
from genjscc.training.stylegan2.gradient_limit import GradientLimit
from genjscc.training.stylegan2.losses import (
    REBUILT,
    SAMPLED,
    Balance,
    image_losses,
    latent_gradients,
    matched_maps,
)
from genjscc.training.stylegan2.networks import (
    build_networks,
    load_initial_networks,
    make_optimizers,
    parameters_of,
    to_float,
)
from receiver.stylegan2.generator import Generator, StyledConv

_COOLDOWN_FLOOR = 0.1
_QUEUE_CHUNK = 256
_MATCHING_CHUNK = 32
# Steps between measurements of the gradients that balance the losses.
_MEASURE_EVERY = 10
# Steps in a row whose gradient has overflown: then none will come that has not.
_MOST_OVERFLOWN = 100


class StyleGAN2Training:
    """A training run with its networks, steps and checkpoints, driven by `fit`."""

    def __init__(self, config: StyleGAN2Config, folder: Path, fabric: Fabric) -> None:
        self.config, self.fabric = config, fabric
        self.run = RunFolder(folder)
        self.run.refuse_unwritable()
        self.data = ImageFolder(config.train, config.image_size)
        list_images(config.val)  # found now, not at the first evaluation
        self._fingerprint = fingerprint(config.train)
        self.step = 0
        self.balance = Balance()
        self._overflown = 0  # steps in a row
        state = self.run.load()
        if state is not None:
            per_step = config.images_per_step * fabric.world_size
            self.run.refuse_other_course(state, images_per_step=per_step, data=self._fingerprint)
        start = state
        if start is None and config.init is not None:
            start = load_initial_networks(config.init)
        self.networks = build_networks(config, self.data, fabric, start)
        self.optimizers = make_optimizers(config, self.networks)
        self.queue = torch.zeros(config.code_queue, config.style_dim, device=fabric.device)
        self.queued = 0
        self.matching: FrechetMatching | None = None
        self.limit = GradientLimit(config.gradient_limit)
        self.best = math.inf  # FD-EffLite0
        if state is not None:
            self._restore(state)
        else:
            self._fill_queue()

    @property
    def images(self) -> int:
        """Images through the generator so far, over all processes."""
        return self.step * self.config.images_per_step * self.fabric.world_size

    @property
    def finished(self) -> bool:
        return self.images >= self.config.images

    @property
    def rate_factor(self) -> float:
        """Factor of the learning rates: linear warm-up, 1, then a half cosine to a tenth."""
        config = self.config
        if self.images < config.warmup_images:
            return (self.images + 1) / config.warmup_images
        left = config.images - self.images
        if left >= config.cooldown_images:
            return 1.0
        done = 1 - left / config.cooldown_images
        return _COOLDOWN_FLOOR + (1 - _COOLDOWN_FLOOR) * 0.5 * (1 + math.cos(math.pi * done))

    @property
    def adversarial_factor(self) -> float:
        """Factor of the adversarial terms: 0 before their phase, then a ramp to 1."""
        since = self.images - self.config.adversarial_after
        if since < 0:
            return 0.0
        return min(1.0, (since + 1) / max(1, self.config.adversarial_ramp))

    def batches(self) -> Iterator[Tensor]:
        """Yield real images from the current step on: [B, 3, S, S] uint8."""
        sampler = StepSampler(
            len(self.data),
            max(self.config.reconstructions, self.config.samples),
            seed=self.config.seed,
            first_step=self.step,
            rank=self.fabric.global_rank,
            ranks=self.fabric.world_size,
        )
        loader: DataLoader[Tensor] = DataLoader(
            self.data,
            batch_sampler=sampler,
            num_workers=self.config.workers,
            pin_memory=self.fabric.device.type == "cuda",
        )
        yield from loader

    def train_step(self, pixels: Tensor) -> dict[str, float]:
        """Run one step of all networks and return the log values."""
        config, networks = self.config, self.networks
        draws = _draws(config.seed, self.step, self.fabric.global_rank)
        if config.matching and self.adversarial_factor and self.matching is None:
            self._start_matching()
        flips = torch.rand(len(pixels), generator=draws) < 0.5
        x = to_float(pixels)
        x = torch.where(flips[:, None, None, None], x.flip(3), x).to(self.fabric.device)
        x = x.contiguous(memory_format=torch.channels_last)

        with self.fabric.autocast():
            images, codes, correction = self._generate(x, draws)
            losses = image_losses(
                config,
                networks.perceptual if self._perceptual else None,
                networks.features,
                networks.discriminator,
                self.matching,
                images.detach(),
                x,
                draws,
                weights=self._adversarial_weights(),
                measure=self.step % _MEASURE_EVERY == 0 or not self.balance.reconstruction,
            )
        energy = correction.square().mean()
        surrogate = (images * losses.gradient).sum() / len(images) + config.code_penalty * energy
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        surrogate.backward()  # type: ignore[no-untyped-call]
        if losses.discriminator is not None:
            heads = list(networks.discriminator.parameters())
            losses.discriminator.backward(inputs=heads)  # type: ignore[no-untyped-call]
        values = losses.values | {"correction": energy.item()}
        latent, more = self._latent_gradients(draws)
        self._apply(latent, discriminator=losses.discriminator is not None)
        self._enqueue(codes)
        if losses.summary is not None:
            values |= self._note_features(losses.summary)
        if losses.measured is not None:
            measured = mean_over_processes(self.fabric, torch.stack(losses.measured))
            self.balance.note(*measured.tolist())
        self.step += 1
        networks.update_average(config.ema_decay, self.step)
        return values | more

    @property
    def _perceptual(self) -> bool:
        config = self.config
        return bool(config.perceptual_weight) and self.images >= config.perceptual_after

    def _adversarial_weights(self) -> tuple[float, float, float] | None:
        if not self.adversarial_factor:
            return None
        on_rebuilt, on_samples = self.balance.weights()
        return (
            on_rebuilt * self.config.adversarial_reconstructions * self.adversarial_factor,
            on_samples * self.config.adversarial_samples * self.adversarial_factor,
            self.config.matching * self.adversarial_factor,
        )

    def _generate(self, x: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Generate reconstructions, then samples; return images, real codes and correction."""
        config, networks, device = self.config, self.networks, self.fabric.device
        generator, split = networks.generator, config.reconstructions
        codes, correction = networks.encoder(x[:split])
        jitter = torch.randn(codes.shape, generator=draws).to(device)
        latents = codes + config.code_noise * jitter * networks.encoder.deviation
        z = torch.randn(config.samples, config.style_dim, generator=draws).to(device)
        mixing, layer = torch.rand(2, generator=draws).tolist()
        sampling = self.adversarial_factor > 0
        if sampling:
            latents = torch.cat([latents, generator.mapping(z) - networks.offset])
        ws = generator.broadcast(latents)
        if sampling and mixing < config.style_mixing:
            cut = 1 + int(layer * (generator.num_ws - 1))
            mixed = torch.cat([ws[split:, :cut], ws[split:].roll(1, 0)[:, cut:]], 1)
            ws = torch.cat([ws[:split], mixed])
        # On reconstructions as well, in which the distortion limits the effect of noise. If only
        # samples had noise, its strength would grow to speckle.
        noise = generator.random_noise(len(ws), draws)
        return generator.synthesis(ws, noise), codes.detach(), correction

    def _latent_gradients(
        self, draws: torch.Generator
    ) -> tuple[dict[str, list[Tensor]], dict[str, float]]:
        networks = self.networks
        if not self.config.latent_learning_rate:
            return {}, {}
        return latent_gradients(
            self.config,
            networks.generator,
            networks.critic,
            self.queue,
            networks.encoder.deviation,
            networks.offset,
            draws,
            step=self.step,
        )

    @torch.no_grad()
    def _fill_queue(self) -> None:
        """Fill the queue with codes of evenly spaced images, so that the critic starts at once."""
        slots = len(self.queue)
        for start in range(0, slots, _QUEUE_CHUNK):
            chosen = range(start, min(start + _QUEUE_CHUNK, slots))
            pixels = [self.data[i * len(self.data) // slots] for i in chosen]
            x = to_float(torch.stack(pixels).to(self.fabric.device))
            # Every second image is mirrored, as in the steps.
            x[1::2] = x[1::2].flip(3)
            self.queue[start : start + len(x)] = self.networks.encoder(x)[0]
        self.queued = slots

    @torch.no_grad()
    def _start_matching(self) -> None:
        """Measure the distributions of real images, of their reconstructions and of samples."""
        config, networks, fabric = self.config, self.networks, self.fabric
        ranks, rank = fabric.world_size, fabric.global_rank
        share = min(config.matching_images, len(self.data)) // ranks
        stride = len(self.data) // (share * ranks)
        found: list[list[Tensor]] = [[], [], []]
        for start in range(0, share, _MATCHING_CHUNK):
            draws = _draws(config.seed, -1 - start, rank)
            chosen = range(start, min(start + _MATCHING_CHUNK, share))
            pixels = [self.data[(i * ranks + rank) * stride] for i in chosen]
            x = to_float(torch.stack(pixels).to(fabric.device))
            x[1::2] = x[1::2].flip(3)
            z = torch.randn(len(x), config.style_dim, generator=draws).to(fabric.device)
            with fabric.autocast():
                for rows, made in zip(found, (x, *self._both_kinds(x, z, draws)), strict=True):
                    augment = Augmentation.draw(
                        len(x), config.image_size, config.augment, draws
                    ).to(fabric.device)
                    images = made.contiguous(memory_format=torch.channels_last)
                    seen = networks.features(augment.apply(images))
                    maps = matched_maps(networks.features, networks.perceptual(images), seen)
                    rows.append(pooled(maps))
            widths = [level.shape[1] for level in maps]
        self.matching = FrechetMatching(widths, 2, config.matching_keep).to(fabric.device)
        real, rebuilt, sampled = (rows_of_processes(fabric, torch.cat(rows)) for rows in found)
        self.matching.set_real(real)
        self.matching.start(REBUILT, rebuilt)
        self.matching.start(SAMPLED, sampled)

    def _both_kinds(self, x: Tensor, z: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """Generate reconstructions of x and samples of z by the averaged generator."""
        generator: Generator = self.networks.average
        codes = torch.cat([self.networks.encoder(x)[0], self.networks.averaged_codes(z)])
        noise = generator.random_noise(len(codes), draws)
        images = generator.synthesis(generator.broadcast(codes), noise)
        return images[: len(x)], images[len(x) :]

    def _note_features(self, summary: Tensor) -> dict[str, float]:
        """Update the distributions of generated features; return their distances from real ones."""
        if self.matching is None:
            raise RuntimeError("no distributions of features")
        split = self.config.reconstructions
        parts = {"distance_rebuilt": summary[:split], "distance_samples": summary[split:]}
        values = {}
        for kind, (name, part) in zip((REBUILT, SAMPLED), parts.items(), strict=True):
            rows = rows_of_processes(self.fabric, part)
            self.matching.note(kind, rows, self.step)
            values[name] = self.matching.distance(kind)
        return values

    @torch.no_grad()
    def _enqueue(self, codes: Tensor) -> None:
        """Queue the codes of all processes, so that every process has the same queue."""
        fresh = rows_of_processes(self.fabric, codes)
        slots = (torch.arange(len(fresh)) + self.queued) % len(self.queue)
        self.queue[slots] = fresh
        self.queued += len(fresh)

    @torch.no_grad()
    def _apply(self, latent: dict[str, list[Tensor]], *, discriminator: bool) -> None:
        """Average all gradients over the processes in one message and step the optimisers."""
        gradients = {}
        for name, optimizer in self.optimizers.items():
            if name in latent:
                gradients[name] = latent[name]
            elif name == "generator" or (name == "discriminator" and discriminator):
                gradients[name] = [
                    torch.zeros_like(p) if p.grad is None else p.grad
                    for p in parameters_of(optimizer)
                ]
        every = [gradient for group in gradients.values() for gradient in group]
        mean = mean_over_processes(self.fabric, torch.cat([g.flatten() for g in every]))
        # Equal on all processes: all of them skip a step that has overflowed.
        if not torch.linalg.vector_norm(mean).isfinite():
            self._overflown += 1
            if self._overflown >= _MOST_OVERFLOWN:
                refuse_diverged([math.nan], self.run, "the gradient")
            return
        self._overflown = 0
        sizes = [sum(g.numel() for g in group) for group in gradients.values()]
        for name, flat in zip(gradients, torch.split(mean, sizes), strict=True):
            optimizer = self.optimizers[name]
            factor = self.limit.factor(name, torch.linalg.vector_norm(flat).item())
            parts = torch.split(flat * factor, [g.numel() for g in gradients[name]])
            for parameter, part in zip(parameters_of(optimizer), parts, strict=True):
                # In the parameter's own memory layout: fused Adam on CPUs ignores strides.
                own = torch.empty_like(parameter)
                parameter.grad = own.copy_(part.view_as(parameter))
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * self.rate_factor
            optimizer.step()
        for module in self.networks.generator.modules():
            if isinstance(module, StyledConv):
                module.noise.weight.clamp_(*self.config.noise_limits)

    def exported(self) -> Generator:
        """Return the averaged generator as a standard one: input w, its mean in latent_avg."""
        generator = copy.deepcopy(self.networks.average)
        shift_latents(generator, -self.networks.offset)
        generator.latent_avg.copy_(generator.mean_latent())
        return generator

    def save(self) -> None:
        """Write the checkpoint (first process).

        Raises:
            DivergedError: weights are no longer finite; the last checkpoint remains.
        """
        refuse_diverged(self.networks.generator.parameters(), self.run, "a weight")
        if not self.fabric.is_global_zero:
            return
        self.run.save(
            self.networks.state_dict()
            | {
                "config": self.config.model_dump(mode="json"),
                "data": self._fingerprint,
                "optimizers": {name: o.state_dict() for name, o in self.optimizers.items()},
                "queue": self.queue,
                "queued": self.queued,
                "balance": list(astuple(self.balance)),
                "matching": None if self.matching is None else self.matching.state_dict(),
                "limit": self.limit.state_dict(),
                "best": self.best,
                "step": self.step,
                "images": self.images,
            }
        )

    def _restore(self, state: dict[str, Any]) -> None:
        """Restore all state but the networks; peak rates come from the (new) configuration."""
        for name, optimizer in self.optimizers.items():
            peaks = [group["peak"] for group in optimizer.param_groups]
            optimizer.load_state_dict(state["optimizers"][name])
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["peak"] = peak
        self.queue.copy_(state["queue"])
        self.queued = state["queued"]
        self.balance = Balance(*state["balance"])
        self.limit.load_state_dict(state.get("limit", {}))
        self.best = state.get("best", math.inf)
        if (matching := state.get("matching")) is not None:
            widths = [len(mean) for name, mean in matching.items() if name.endswith(".mean")]
            self.matching = FrechetMatching(widths, 2, self.config.matching_keep)
            self.matching.load_state_dict(matching)
            self.matching.to(self.fabric.device)
        self.step = state["step"]


def _draws(seed: int, step: int, rank: int) -> torch.Generator:
    """Return the random number generator of one step on one process."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) * 1_009 + rank)
