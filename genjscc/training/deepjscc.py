# SPDX-License-Identifier: Apache-2.0
"""Training of a DeepJSCC pair: distortion over random SNRs (Sections IV-A and V-B of the paper).

The same function trains on one CPU, one GPU or N processes (Lightning Fabric). All randomness
of a step comes from (seed, step, process), so a resumed run repeats what an unbroken one does.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader

from genjscc.bundles.store import read_config
from genjscc.errors import InvalidInputError
from genjscc.training.collective import sum_over_processes
from genjscc.training.config import DeepJSCCConfig
from genjscc.training.data import ImageFolder, StepSampler
from genjscc.training.draws import VALIDATION, draw_batch, draw_rate
from genjscc.training.losses import mse, perceptual
from genjscc.training.run import RunFolder
from genjscc.training.stopping import StopOnSignal, any_process
from receiver.deepjscc import Decoder
from receiver.forward import ForwardOperator
from receiver.models import load_decoder
from transmitter.encoder import Encoder
from transmitter.models import load_encoder

VALIDATION_SNRS_DB = (-5.0, 0.0, 5.0)
_PLATEAU_EPOCHS, _PLATEAU_FACTOR = 4, 0.8
_COSINE_FLOOR = 0.01


def build_pair(config: DeepJSCCConfig) -> ForwardOperator:
    """The untrained encoder and decoder of a run, from its seed."""
    torch.manual_seed(config.seed)
    sizes = (config.width, config.symbol_channels, config.channel_steps)
    return ForwardOperator(Encoder(*sizes), Decoder(*sizes))


def load_initial(pair: ForwardOperator, config: DeepJSCCConfig, bundle: Path) -> None:
    """Gives a pair the weights of a bundle.

    Raises:
        BundleError: the bundle is missing or broken.
        InvalidInputError: it holds networks of another size.
    """
    declared = read_config(bundle)
    for field in ("width", "symbol_channels", "channel_steps"):
        found, wanted = getattr(declared, field), getattr(config, field)
        if found != wanted:
            raise InvalidInputError(
                "initial_bundle", f"{bundle} has {field} {found}; this run has {wanted}"
            )
    pair.encoder.load_state_dict(load_encoder(bundle.parent, declared).state_dict())
    pair.decoder.load_state_dict(load_decoder(bundle.parent, declared).state_dict())


def learning_rate_at(config: DeepJSCCConfig, images: int, plateau_factor: float) -> float:
    """The rate after so many images: warm-up, then the schedule."""
    rate = config.learning_rate * plateau_factor
    if images < config.warmup_images:
        return rate * (images + 1) / config.warmup_images
    if config.schedule == "cosine":
        done = min(1.0, images / config.images)
        rate *= _COSINE_FLOOR + (1 - _COSINE_FLOOR) * 0.5 * (1 + math.cos(math.pi * done))
    return rate


class _Average:
    """Exponential moving average of a module's parameters, short at first."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        averaged: list[Tensor] = [p.detach() for p in self.module.parameters()]
        torch._foreach_lerp_(averaged, [p.detach() for p in module.parameters()], 1 - decay)


class DeepJSCCTraining:
    """One run: build, step, validate, save. `fit` drives it."""

    def __init__(self, config: DeepJSCCConfig, folder: Path, fabric: Fabric) -> None:
        self.config, self.fabric = config, fabric
        self.run = RunFolder(folder)
        state = self.run.load()
        pair = build_pair(config)
        if state is None and config.initial_bundle is not None:
            load_initial(pair, config, config.initial_bundle)
        pair = pair.to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(
            pair.parameters(), lr=config.learning_rate, betas=config.betas, fused=True
        )
        self.pair = pair.to(fabric.device)
        self.average = _Average(self.pair, config.ema_decay) if config.ema_decay else None
        self.step = 0
        self.plateau_factor, self.best, self.stale = 1.0, math.inf, 0
        if state is not None:
            self._restore(state, optimizer)
        self.model, self.optimizer = fabric.setup(self.pair, optimizer)
        self.perceptual: nn.Module | None = None
        if config.perceptual is not None:
            self.perceptual = perceptual(config.perceptual).to(
                fabric.device, memory_format=torch.channels_last
            )  # type: ignore[call-overload]

    @property
    def images(self) -> int:
        """Training images seen so far, over all processes."""
        return self.step * self.config.batch_size * self.fabric.world_size

    @property
    def finished(self) -> bool:
        stalled = self.config.schedule == "plateau" and self.stale >= self.config.patience
        return self.images >= self.config.images or stalled

    def batches(self) -> Iterator[Tensor]:
        """Batches from the current step on: [B, 3, S, S] uint8."""
        data = ImageFolder(self.config.train, self.config.image_size)
        sampler = StepSampler(
            len(data),
            self.config.batch_size,
            seed=self.config.seed,
            first_step=self.step,
            rank=self.fabric.global_rank,
            ranks=self.fabric.world_size,
        )
        loader: DataLoader[Tensor] = DataLoader(
            data,
            batch_sampler=sampler,
            num_workers=self.config.workers,
            pin_memory=self.fabric.device.type == "cuda",
        )
        yield from loader

    def train_step(self, pixels: Tensor) -> dict[str, Tensor]:
        """One optimiser step; returns the terms of the loss, averaged over the batch."""
        device = self.fabric.device
        first = self.images + self.fabric.global_rank * len(pixels)
        samples = range(first, first + len(pixels))
        draws = draw_batch(
            self.config.seed, samples, self.config.snr_db, self.config.num_symbols, device
        )
        rate = draw_rate(self.config.seed, self.step, self.config.rates)
        images = pixels.to(device, non_blocking=True).float() / 255
        images = torch.where(draws.flips[:, None, None, None], images.flip(3), images)
        images = images.contiguous(memory_format=torch.channels_last)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.config, self.images, self.plateau_factor)
        x_hat = self.model(images, draws.snr_db, draws.unit_noise, rate)
        terms = self._terms(images, x_hat)
        self.optimizer.zero_grad()
        self.fabric.backward(terms["loss"])
        if self.config.clip_norm:
            self.fabric.clip_gradients(self.model, self.optimizer, max_norm=self.config.clip_norm)
        self.optimizer.step()
        self.step += 1
        if self.average is not None:
            self.average.update(self.pair, self.step)
        return {name: value.detach() for name, value in terms.items()}

    def _terms(self, images: Tensor, x_hat: Tensor, *, always: bool = False) -> dict[str, Tensor]:
        terms = {"mse": mse(x_hat, images).mean()}
        loss = self.config.mse_weight * terms["mse"]
        if self.perceptual is not None and (always or self.images >= self.config.perceptual_after):
            with self.fabric.autocast():
                terms["perceptual"] = self.perceptual(x_hat, images).mean()
            loss = loss + self.config.perceptual_weight * terms["perceptual"]
        return {"loss": loss, **terms}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Means over the validation images at -5, 0 and 5 dB, each rate; fixed noise."""
        config, link = self.config, self.average.module if self.average else self.pair
        data = ImageFolder(config.val, config.image_size)
        # Evenly spaced, so that a part of a sorted folder stands for the whole.
        count = min(config.validate_images, len(data))
        chosen = [i * len(data) // count for i in range(count)]
        shown = [torch.stack([data[i] for i in chosen[:16]]).float() / 255]
        sums: dict[str, float] = {}
        ranks, rank = self.fabric.world_size, self.fabric.global_rank
        for rate in config.rates:
            channels = rate or config.symbol_channels
            for snr in VALIDATION_SNRS_DB:
                key = f"{channels}ch_{snr:+g}dB"
                for start in range(rank * 32, count, 32 * ranks):
                    images = torch.stack([data[i] for i in chosen[start : start + 32]])
                    images = images.to(self.fabric.device).float() / 255
                    samples = range(VALIDATION + start, VALIDATION + start + len(images))
                    draws = draw_batch(
                        config.seed, samples, (snr, snr), config.num_symbols, images.device
                    )
                    with self.fabric.autocast():
                        x_hat = link(images, draws.snr_db, draws.unit_noise, rate)
                    if start == 0:
                        shown.append(x_hat[:16].float())
                    terms = self._terms(images, x_hat, always=True)
                    psnr = -10 * torch.log10(mse(x_hat, images)).sum()
                    parts = {f"psnr_{key}": float(psnr)}
                    parts |= {f"loss_{key}": float(terms["loss"]) * len(images)}
                    for name, value in parts.items():
                        sums[name] = sums.get(name, 0.0) + value / count
        means = self._means(sums)
        means["loss"] = sum(v for k, v in means.items() if k.startswith("loss_")) / (
            len(config.rates) * len(VALIDATION_SNRS_DB)
        )
        if self.fabric.is_global_zero:
            self.run.sheet(self.images, shown)
            self.run.log("validation", self.images, means)
        self._note_plateau(means["loss"])
        return means

    def _means(self, sums: dict[str, float]) -> dict[str, float]:
        keys = [
            f"{kind}_{rate or self.config.symbol_channels}ch_{snr:+g}dB"
            for kind in ("psnr", "loss")
            for rate in self.config.rates
            for snr in VALIDATION_SNRS_DB
        ]
        packed = torch.tensor([sums.get(key, 0.0) for key in keys], device=self.fabric.device)
        total = sum_over_processes(self.fabric, packed)
        return dict(zip(keys, total.tolist(), strict=True))

    def _note_plateau(self, loss: float) -> None:
        if loss < self.best:
            self.best, self.stale = loss, 0
            return
        self.stale += 1
        if self.stale % _PLATEAU_EPOCHS == 0:
            self.plateau_factor *= _PLATEAU_FACTOR

    def save(self) -> None:
        """Writes the checkpoint (first process)."""
        if not self.fabric.is_global_zero:
            return
        self.run.save(
            {
                "config": self.config.model_dump(mode="json"),
                "pair": self.pair.state_dict(),
                "average": self.average.module.state_dict() if self.average else None,
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
                "images": self.images,
                "plateau": [self.plateau_factor, self.best, self.stale],
            }
        )

    def _restore(self, state: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
        self.pair.load_state_dict(state["pair"])
        if self.average is not None and state["average"] is not None:
            self.average.module.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.plateau_factor, self.best, self.stale = state["plateau"]


def fit(
    config: DeepJSCCConfig,
    folder: Path,
    fabric: Fabric,
    report: Callable[[DeepJSCCTraining, dict[str, float]], None] = lambda _t, _v: None,
) -> DeepJSCCTraining:
    """Trains until the images are used up, the loss stalls or a signal comes; resumes by itself.

    Args:
        config: the run.
        folder: where its checkpoint, logs and sheets go; one that holds a checkpoint goes on.
        fabric: launched; says device, precision and processes.
        report: called on every process after each step with the loss terms, and after each
            validation with its means.
    """
    training = DeepJSCCTraining(config, folder, fabric)
    stop = StopOnSignal()
    saved_at = time.monotonic()
    for pixels in training.batches():
        if training.finished or any_process(fabric, stop.asked):
            break
        before = training.images
        terms = {name: float(value) for name, value in training.train_step(pixels).items()}
        report(training, terms)
        due = before // config.validate_every < training.images // config.validate_every
        if due or training.finished:
            report(training, training.validate())
        if due or time.monotonic() - saved_at > config.checkpoint_every_s:
            training.save()
            saved_at = time.monotonic()
    training.save()
    return training
