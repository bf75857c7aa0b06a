# SPDX-License-Identifier: Apache-2.0
"""Training loop of an encoder and a decoder, of any scheme: distortion over random SNRs.

A run goes through stages, which differ in how fast the groups of parameters learn. The same loop
trains on one CPU, one GPU or N processes (Lightning Fabric). All randomness of a step comes from
(seed, step, process), so a resumed run repeats what an unbroken one does.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from lightning_fabric import Fabric
from pydantic import BaseModel
from torch import Tensor, nn
from torch.utils.data import DataLoader

from genjscc.bundles.config import BundleConfig
from genjscc.bundles.store import read_config
from genjscc.errors import InvalidInputError
from genjscc.layers.bottleneck import num_symbols
from genjscc.quality.fast_backward import with_fast_backward
from genjscc.quality.grid import grid_shares
from genjscc.quality.perceptual import MeanDistance, mse, perceptual
from genjscc.training.averaging import Average
from genjscc.training.config import PairConfig
from genjscc.training.data import (
    ImageFolder,
    NumberedSampler,
    StepSampler,
    fingerprint,
    list_images,
)
from genjscc.training.distributed import StopOnSignal, any_process, sum_over_processes
from genjscc.training.draws import VALIDATION, draw_batch, draw_rate, draw_window
from genjscc.training.muon import Muon, matrix_groups
from genjscc.training.run import RunFolder, refuse_diverged
from transmitter.models import load_encoder

_PLATEAU_EPOCHS, _PLATEAU_FACTOR = 4, 0.8
_FLOOR = 0.01
# Added to an MSE before its logarithm: that of a picture at 40 dB, which is good enough.
_LOG_OFFSET = 1e-4
_SIZES = ("width", "symbol_channels", "channel_steps")

C = TypeVar("C", bound=PairConfig)
T = TypeVar("T", bound="PairTraining[Any]")


@dataclass(frozen=True)
class Stage:
    """A stage of a run: its number of images, and each group's share of the learning rate.

    A group with share 0 does not learn.
    """

    images: int
    shares: tuple[float, ...]


def schedule_at(config: PairConfig, images: int, of: int) -> float:
    """Return the share of the peak learning rate after so many images of a stage."""
    if images < config.warmup_images:
        return (images + 1) / config.warmup_images
    if config.schedule == "cosine":
        done = min(1.0, images / of)
        return _FLOOR + (1 - _FLOOR) * 0.5 * (1 + math.cos(math.pi * done))
    if config.schedule == "wsd" and config.decay_images:
        left = min(1.0, max(0, of - images) / min(of, config.decay_images))
        return _FLOOR + (1 - _FLOOR) * left
    return 1.0


class PairTraining(ABC, Generic[C]):
    """A training run: build, step, validate, save. Driven by `fit`."""

    scheme: ClassVar[str]
    frozen: str = ""
    """name of the submodule of the pair that is given, not trained; empty: none"""

    def __init__(self, config: C, folder: Path, fabric: Fabric) -> None:
        self.config, self.fabric = config, fabric
        self.run = RunFolder(folder)
        self.run.refuse_unwritable()
        state = self.run.load()
        list_images(config.val)  # found now, not at the first validation
        self._data = fingerprint(config.train)
        if state is not None:
            self.run.refuse_other_course(
                state, images_per_step=config.batch_size * fabric.world_size, data=self._data
            )
        pair = self.build()
        if state is None and config.initial_bundle is not None:
            self.load_initial(pair, config.initial_bundle)
        elif state is None:
            self.start(pair)
        self.pair = pair.to(fabric.device)
        self.stages = self.plan()
        optimizers = self._optimizers()
        frozen = self.pair.get_submodule(self.frozen) if self.frozen else None
        self.average = Average(self.pair, config.ema_decay, frozen) if config.ema_decay else None
        self.step = 0
        first = next((i for i, stage in enumerate(self.stages) if stage.images), 0)
        self._began = {first: 0}
        self.plateau_factor, self.best, self.stale = 1.0, math.inf, 0
        if state is not None:
            self._restore(state, optimizers)
        self._enter_stage()
        self.optimizers: list[Any] = [fabric.setup_optimizers(each) for each in optimizers]
        self.restore_further(state["further"] if state is not None and "further" in state else {})
        self.perceptual: nn.Module | None = None
        if config.perceptual:
            distances = (with_fast_backward(perceptual(name)) for name in config.perceptual)
            self.perceptual = MeanDistance(distances).to(fabric.device)

    @abstractmethod
    def build(self) -> nn.Module:
        """Build the untrained encoder and decoder as a `ForwardOperator`, from the run's seed.

        It may be any module that is called like one.
        """

    def start(self, pair: nn.Module) -> None:
        """Set the weights of a new run that depend on more than its seed."""

    @abstractmethod
    def load_initial_decoder(self, pair: nn.Module, root: Path, declared: BundleConfig) -> None:
        """Load the decoder of a bundle of the same scheme into a pair."""

    def load_initial(self, pair: nn.Module, bundle: Path) -> None:
        """Load the weights of a bundle into a pair; only the encoder if the scheme differs.

        Where only one side has AF modules, the other blocks are taken over.

        Raises:
            BundleError: the bundle is missing or broken.
            InvalidInputError: it holds networks of another size.
        """
        declared = read_config(bundle)
        refuse_other_sizes(bundle, self.config, declared, _SIZES)
        encoder = load_encoder(bundle.parent, declared)
        self.take_over(pair.get_submodule("encoder"), encoder, declared)
        if declared.scheme == self.scheme:
            self.load_initial_decoder(pair, bundle.parent, declared)

    def take_over(self, own: nn.Module, other: nn.Module, declared: BundleConfig) -> None:
        """Load the weights of a bundle's network into a network."""
        own.load_state_dict(other.state_dict(), strict=declared.af == self.config.af)

    @abstractmethod
    def plan(self) -> Sequence[Stage]:
        """Return the stages of the run; stages without images are skipped."""

    def groups(self, pair: nn.Module) -> Sequence[Sequence[nn.Parameter]]:
        """Return the trained parameters in groups, each with a share of the learning rate."""
        return [list(pair.parameters())]

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        """Build Adam for the groups, and Muon for their convolutions if it has a learning rate."""
        config = self.config
        groups = [list(group) for group in self.groups(self.pair)]
        muon: list[dict[str, Any]] = []
        if config.muon_learning_rate:
            for number, group in enumerate(groups):
                muon += [{**part, "share": number} for part in matrix_groups(self.pair, group)]
            matrices = {id(p) for part in muon for p in part["params"]}
            groups = [[p for p in group if id(p) not in matrices] for group in groups]
        adam = torch.optim.Adam(
            [{"params": group} for group in groups],
            lr=config.learning_rate,
            betas=config.betas,
            fused=True,
        )
        return [adam, Muon(muon, lr=config.muon_learning_rate)] if muon else [adam]

    def trained_module(self) -> nn.Module:
        """Return the module that a step of the present stage calls, with a `ForwardOperator`'s
        arguments.
        """
        return self.pair

    def terms(self, images: Tensor, output: Tensor) -> dict[str, Tensor]:
        """Compute the loss terms of the present stage from the output of `trained_module`."""
        return self._terms(images, output)

    def facts(self) -> dict[str, str]:
        """Return facts that a checkpoint depends on besides its configuration."""
        return {}

    def further_state(self) -> dict[str, Any]:
        """Return what else a checkpoint holds."""
        return {}

    def restore_further(self, state: dict[str, Any]) -> None:
        """Go on from what `further_state` returned."""

    def _enter_stage(self) -> None:
        """Set which parameters are trained, and prepare the exchange of their gradients.

        Parameters that get no gradient would let the exchange wait for ever, so what does not
        learn in a stage is not part of it.
        """
        shares = self.stages[self.stage].shares
        for group, share in zip(self.groups(self.pair), shares, strict=True):
            for parameter in group:
                parameter.requires_grad_(share > 0)
        self.model = self.fabric.setup_module(self.trained_module())

    def go_on(self) -> None:
        """Start the next stage, with a new schedule, if the present one is over."""
        following = self._following
        if self.stage_over and following is not None:
            self._began[following] = self.images
            self.plateau_factor, self.best, self.stale = 1.0, math.inf, 0
            self._enter_stage()

    @property
    def _following(self) -> int | None:
        later = range(self.stage + 1, len(self.stages))
        return next((number for number in later if self.stages[number].images), None)

    @property
    def stage(self) -> int:
        """Number of the present stage."""
        return max(self._began)

    @property
    def images(self) -> int:
        """Training images seen so far, over all processes."""
        return self.step * self.config.batch_size * self.fabric.world_size

    @property
    def stage_over(self) -> bool:
        """Whether the stage has had its images, or its loss stalls."""
        stalled = self.config.schedule == "plateau" and self.stale >= self.config.patience
        return self.images - self._began[self.stage] >= self.stages[self.stage].images or stalled

    @property
    def finished(self) -> bool:
        return self.stage_over and self._following is None

    def batches(self) -> Iterator[Tensor]:
        """Yield batches from the current step on: [B, 3, S, S] uint8."""
        config, rank, ranks = self.config, self.fabric.global_rank, self.fabric.world_size
        data = ImageFolder(config.train, config.image_size, config.augmentation, seed=config.seed)
        steps = StepSampler(
            len(data),
            config.batch_size,
            seed=config.seed,
            first_step=self.step,
            rank=rank,
            ranks=ranks,
        )
        sampler = NumberedSampler(
            steps,
            first_sample=self.images + rank * config.batch_size,
            stride=ranks * config.batch_size,
        )
        loader: DataLoader[Tensor] = DataLoader(
            data,
            batch_sampler=sampler,
            num_workers=self.config.workers,
            pin_memory=self.fabric.device.type == "cuda",
        )
        yield from loader

    def train_step(self, pixels: Tensor) -> dict[str, Tensor]:
        """Run one optimiser step and return the loss terms, averaged over the batch."""
        device = self.fabric.device
        first = self.images + self.fabric.global_rank * len(pixels)
        samples = range(first, first + len(pixels))
        draws = draw_batch(
            self.config.seed, samples, self.config.snr_db, self.config.num_symbols, device
        )
        rate = draw_rate(self.config.seed, self.step, self.config.rates, self.config.rate_weights)
        images = pixels.to(device, non_blocking=True).float() / 255
        images = torch.where(draws.flips[:, None, None, None], images.flip(3), images)
        images = images.contiguous(memory_format=torch.channels_last)
        self._set_learning_rates()
        output = self.model(images, draws.snr_db, draws.unit_noise, rate)
        terms = self.terms(images, output)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        self.fabric.backward(terms["loss"])
        if self.config.clip_norm:
            self.fabric.clip_gradients(
                self.model, self.optimizers[0], max_norm=self.config.clip_norm
            )
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        if self.average is not None:
            self.average.update(self.step)
        return {name: value.detach() for name, value in terms.items()}

    def _set_learning_rates(self) -> None:
        stage = self.stages[self.stage]
        seen = self.images - self._began[self.stage]
        factor = schedule_at(self.config, seen, stage.images) * self.plateau_factor
        for group, share in zip(self.optimizers[0].param_groups, stage.shares, strict=True):
            group["lr"] = self.config.learning_rate * factor * share
        for muon in self.optimizers[1:]:
            for group in muon.param_groups:
                share = stage.shares[group["share"]]
                group["lr"] = self.config.muon_learning_rate * factor * share

    def _terms(self, images: Tensor, x_hat: Tensor, *, always: bool = False) -> dict[str, Tensor]:
        distortion = mse(x_hat, images)
        terms = {"mse": distortion.mean()}
        if self.config.mse_scale == "log":
            loss = self.config.mse_weight * (distortion + _LOG_OFFSET).log().mean()
        else:
            loss = self.config.mse_weight * terms["mse"]
        if self.perceptual is not None and (always or self.images >= self.config.perceptual_after):
            seen = (x_hat, images) if always else self._windows(x_hat, images)
            with self.fabric.autocast():
                terms["perceptual"] = self.perceptual(*seen).mean()
            loss = loss + self.config.perceptual_weight * terms["perceptual"]
        if self.config.grid_weight and not always:
            terms["grid"] = grid_shares(images, x_hat).clamp(min=0).mean()
            loss = loss + self.config.grid_weight * terms["grid"]
        return {"loss": loss, **terms}

    def _windows(self, *images: Tensor) -> list[Tensor]:
        """Cut the same window out of several images: what the perceptual term sees of them."""
        side = self.config.perceptual_side
        if not side:
            return list(images)
        rows, columns = draw_window(self.config.seed, self.step, self.config.image_size, side)
        return [image[..., rows, columns] for image in images]

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Measure means over the validation images at each SNR and rate, with fixed noise."""
        config, link = self.config, self.average.module if self.average else self.pair
        link.eval()
        size = config.validation_size
        data = ImageFolder(config.val, size, config.augmentation)
        most_symbols = num_symbols(config.symbol_channels, (size, size))
        # Evenly spaced, so that a part of a sorted folder stands for the whole.
        count = min(config.validate_images, len(data))
        chosen = [i * len(data) // count for i in range(count)]
        shown = [torch.stack([data[i] for i in chosen[:16]]).float() / 255]
        sums: dict[str, float] = {}
        ranks, rank = self.fabric.world_size, self.fabric.global_rank
        for rate in config.rates:
            channels = rate or config.symbol_channels
            for snr in config.validate_snr_db:
                key = f"{channels}ch_{snr:+g}dB"
                for start in range(rank * 32, count, 32 * ranks):
                    images = torch.stack([data[i] for i in chosen[start : start + 32]])
                    images = images.to(self.fabric.device).float() / 255
                    samples = range(VALIDATION + start, VALIDATION + start + len(images))
                    draws = draw_batch(
                        config.seed, samples, (snr, snr), most_symbols, images.device
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
        self.pair.train()
        means = self._means(sums)
        means["loss"] = sum(v for k, v in means.items() if k.startswith("loss_")) / (
            len(config.rates) * len(config.validate_snr_db)
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
            for snr in self.config.validate_snr_db
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
        """Write the checkpoint (first process).

        Raises:
            DivergedError: weights are not finite any more; the last checkpoint stays.
        """
        refuse_diverged(self.pair.parameters(), self.run, "a weight")
        if not self.fabric.is_global_zero:
            return
        self.run.save(
            {
                "scheme": self.scheme,
                "config": self.config.model_dump(mode="json"),
                "facts": self.facts(),
                "data": self._data,
                "pair": self._trained(self.pair),
                "average": self._trained(self.average.module) if self.average else None,
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "step": self.step,
                "images": self.images,
                "stages": self._began,
                "plateau": [self.plateau_factor, self.best, self.stale],
                "further": self.further_state(),
            }
        )

    def _restore(self, state: dict[str, Any], optimizers: list[torch.optim.Optimizer]) -> None:
        for name, found in self.facts().items():
            if state["facts"][name] != found:
                raise InvalidInputError(
                    name, f"is {found}; the run in {self.run.path} has {state['facts'][name]}"
                )
        load_trained(self.pair, state["pair"], self.frozen)
        if self.average is not None and state["average"] is not None:
            load_trained(self.average.module, state["average"], self.frozen)
        # Runs from before Muon have one.
        states = state.get("optimizers") or [state["optimizer"]]
        if len(states) != len(optimizers):
            raise InvalidInputError(
                "muon_learning_rate",
                f"got {self.config.muon_learning_rate}; the run in {self.run.path} "
                f"{'uses' if len(states) > 1 else 'does not use'} Muon, or begin another one from "
                "its weights (initial_bundle)",
            )
        for optimizer, entries in zip(optimizers, states, strict=True):
            optimizer.load_state_dict(entries)
        self.step = state["step"]
        self._began = state["stages"]
        self.plateau_factor, self.best, self.stale = state["plateau"]

    def _trained(self, pair: nn.Module) -> dict[str, Tensor]:
        return {k: v for k, v in pair.state_dict().items() if not is_frozen(k, self.frozen)}


def refuse_other_sizes(
    bundle: Path, config: BaseModel, declared: BaseModel, fields: Sequence[str]
) -> None:
    """Raise InvalidInputError if a bundle's networks have other sizes than those of the run."""
    for field in fields:
        found, wanted = getattr(declared, field), getattr(config, field)
        if found != wanted:
            raise InvalidInputError(
                "initial_bundle", f"{bundle} has {field} {found}; this run has {wanted}"
            )


def is_frozen(name: str, frozen: str) -> bool:
    """Return whether a tensor of a pair belongs to the frozen submodule."""
    return bool(frozen) and name.startswith(f"{frozen}.")


def load_trained(pair: nn.Module, state: dict[str, Tensor], frozen: str) -> None:
    """Load the trained tensors of a checkpoint, which lacks those of `frozen`, into a pair.

    Raises:
        InvalidInputError: the checkpoint is of another network.
    """
    try:
        missing, unknown = pair.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise InvalidInputError("run", str(error).splitlines()[-1].strip()) from error
    wrong = [*unknown, *(name for name in missing if not is_frozen(name, frozen))]
    if wrong:
        raise InvalidInputError(
            "run", f"its checkpoint is of another network: {wrong[0]} is missing or left over"
        )


def fit(
    training: T,
    report: Callable[[T, dict[str, float]], None] = lambda _t, _v: None,
) -> T:
    """Train until all images are used, the loss stalls or a signal arrives; resume from a
    checkpoint.

    Args:
        training: new, or gone on from the checkpoint in its folder.
        report: called on every process after each step with the loss terms, and after each
            validation with its means.

    Raises:
        DivergedError: the loss or a weight is not finite any more.
    """
    config, fabric = training.config, training.fabric
    with StopOnSignal() as stop:
        saved_at = time.monotonic()
        for pixels in training.batches():
            training.go_on()
            if training.finished or any_process(fabric, stop.asked):
                break
            before = training.images
            terms = {name: float(value) for name, value in training.train_step(pixels).items()}
            if any_process(fabric, not all(map(math.isfinite, terms.values()))):
                what = f"the loss after {training.images} images"
                refuse_diverged([math.nan], training.run, what)
            report(training, terms)
            due = before // config.validate_every < training.images // config.validate_every
            if due or training.stage_over:
                report(training, training.validate())
            if due or time.monotonic() - saved_at > config.checkpoint_every_s:
                training.save()
                saved_at = time.monotonic()
        training.save()
    return training
