# SPDX-License-Identifier: Apache-2.0
"""Training of an initialiser: from received images to latents of a frozen generator.

    x ─ f ─ eta ─ g ─ x_hat ─ initialiser ─ W+ ─ G ─ image          compared with x

The images are photographs and samples of the generator, sent over existing pairs. The loss is
that of the schemes, so that inversions from these latents start close in the same measure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import Field, model_validator
from torch import Tensor, nn

from genjscc.bundles.config import BundleConfig, GeneratorConfig
from genjscc.bundles.store import (
    CARD,
    GENERATOR,
    read_config,
    read_generator_config,
    write_declaration,
    write_weights,
)
from genjscc.errors import InvalidInputError
from genjscc.training import loop
from genjscc.training.codes_first import CodesFirst
from genjscc.training.config import GeneratorRunConfig
from genjscc.training.draws import draw_batch, draw_rate
from genjscc.training.loop import Stage, load_trained
from genjscc.training.run import RunFolder
from receiver.forward import ForwardOperator
from receiver.inverse.initialiser import START, LatentStart, coarse
from receiver.models import Generators, load_deepjscc
from receiver.stylegan2.generator import Generator, latent_spread
from transmitter.models import load_encoder

FROZEN = "given"
_DAMPINGS = (0.001, 0.01, 0.1, 1.0, 10.0)
_CARD_HEADING = "## Start network"


class LatentStartConfig(GeneratorRunConfig):
    """A run that trains the initialiser of inversions through a generator.

    `width` is the initialiser's width; `symbol_channels` and `channel_steps` are the bottleneck
    channels that the pairs send during training.
    """

    pairs: tuple[Path, ...] = Field(
        min_length=1,
        description="folders of the DeepJSCC bundles that send its images, in equal parts",
    )
    sample_share: float = Field(
        0.25, ge=0, le=1, description="fraction of generator samples in each batch"
    )
    linear_images: int = Field(
        4096,
        ge=0,
        description="generator samples from which the network's linear part is first fitted in "
        "closed form; 0: start at the mean latent",
    )
    stage1_images: int = Field(
        100_000, ge=1, description="training images of the stage with a loss on images"
    )

    @model_validator(mode="after")
    def _begins_anew(self) -> Self:
        if self.initial_bundle is not None:
            raise ValueError("initial_bundle: an initialiser starts at the mean latent; leave out")
        return self

    @property
    def images(self) -> int:
        """Total training images, repeats included."""
        return self.code_images + self.stage1_images


class Given(nn.Module):
    """The frozen parts of a run: links and generator."""

    def __init__(self, links: Sequence[ForwardOperator], generator: Generator) -> None:
        super().__init__()
        self.links = nn.ModuleList(links)
        self.generator = generator


class StartOperator(nn.Module):
    """Images to the generator's images at the initial latents, called as a `ForwardOperator`."""

    def __init__(self, start: LatentStart, given: Given, symbol_channels: int) -> None:
        super().__init__()
        self.start, self.given, self.symbol_channels = start, given, symbol_channels

    @torch.no_grad()
    def receive(
        self, images: Tensor, snr_db: Tensor, unit_noise: Tensor, channels: int | None = None
    ) -> Tensor:
        """Return x_hat, with shapes as in `ForwardOperator.forward`. Image i takes link i mod n."""
        x_hat = torch.empty_like(images, dtype=torch.float32)
        count = len(self.given.links)
        sent = self.symbol_channels if channels is None else channels
        for number, link in enumerate(self.given.links):
            own = slice(number, None, count)
            if len(images[own]):
                x_hat[own] = link(images[own], snr_db[own], unit_noise[own], sent)
        return x_hat

    def forward(
        self, images: Tensor, snr_db: Tensor, unit_noise: Tensor, channels: int | None = None
    ) -> Tensor:
        """Return images, with shapes and ranges as in `ForwardOperator.forward`."""
        x_hat = self.receive(images, snr_db, unit_noise, channels)
        generator = self.given.generator
        # As in an inversion that starts without noise.
        maps = [images.new_zeros(1, 1, side, side) for side in generator.noise_sizes]
        shown: Tensor = generator.synthesis(self.start(x_hat), maps)
        return (shown + 1) / 2


def build(config: LatentStartConfig) -> StartOperator:
    """Build the untrained initialiser of a run, with the links and the generator.

    Raises:
        BundleError: a bundle is missing or broken.
        InvalidInputError: the generator or a pair does not fit the run.
    """
    folder = config.generator.resolve()
    generator = Generators(folder.parent).load(folder.name)
    if generator.size != config.image_size:
        raise InvalidInputError(
            "image_size", f"got {config.image_size}; the generator's is {generator.size}"
        )
    links = [_link(path.resolve(), config) for path in config.pairs]
    torch.manual_seed(config.seed)
    start = LatentStart.for_generator(generator, latent_spread(generator), config.channels)
    start.to(memory_format=torch.channels_last)
    return StartOperator(start, Given(links, generator), config.symbol_channels)


def _link(path: Path, config: LatentStartConfig) -> ForwardOperator:
    declared = read_config(path)
    wanted = config.channel_steps or (config.symbol_channels,)
    offered = declared.channels_by_ratio.values()
    missing = [channels for channels in wanted if channels not in offered]
    if declared.scheme != "deepjscc" or missing:
        raise InvalidInputError(
            "pairs",
            f"{path} has scheme {declared.scheme} and sends {sorted(offered)} channels; "
            f"must be deepjscc and {list(wanted)}",
        )
    encoder = load_encoder(path.parent, declared)
    link = ForwardOperator(encoder, load_deepjscc(path.parent, declared))
    return link.requires_grad_(False)


class StartLatents(nn.Module):
    """A `StartOperator` up to its latents, W+, with the same arguments."""

    def __init__(self, operator: nn.Module) -> None:
        super().__init__()
        if not isinstance(operator, StartOperator):
            raise TypeError(f"{type(operator).__name__} is not a start operator")
        self.operator = operator

    def forward(
        self, images: Tensor, snr_db: Tensor, unit_noise: Tensor, channels: int | None = None
    ) -> Tensor:
        x_hat = self.operator.receive(images, snr_db, unit_noise, channels)
        latents: Tensor = self.operator.start(x_hat)
        return latents


class LatentStartTraining(CodesFirst[LatentStartConfig]):
    """A run in one stage, preceded by the stage that learns codes."""

    scheme = "start"
    frozen = FROZEN

    def __init__(self, config: LatentStartConfig, folder: Path, fabric: Fabric) -> None:
        super().__init__(config, folder, fabric)
        if self.step == 0 and config.linear_images and isinstance(self.pair, StartOperator):
            fit_linear(self.pair, config)

    def build(self) -> StartOperator:
        return build(self.config)

    def load_initial_decoder(self, pair: nn.Module, root: Path, declared: BundleConfig) -> None:
        raise NotImplementedError("the configuration refuses an initial bundle")

    def later_stages(self) -> Sequence[Stage]:
        return [Stage(self.config.stage1_images, (1.0,))]

    def to_latent(self, pair: nn.Module) -> nn.Module:
        return StartLatents(pair)

    def facts(self) -> dict[str, str]:
        return {"generator": _sha256(self.config.generator)}

    def groups(self, pair: nn.Module) -> Sequence[Sequence[nn.Parameter]]:
        return [list(pair.get_submodule("start").parameters())]

    def batches(self) -> Iterator[Tensor]:
        """Yield training batches with a part of each replaced by samples of the generator."""
        count = round(self.config.sample_share * self.config.batch_size)
        generator = self.pair.get_submodule(f"{FROZEN}.generator")
        for step, pixels in enumerate(super().batches(), start=self.step):
            if count:
                draws = np.random.default_rng([self.config.seed, step, self.fabric.global_rank, 2])
                seed = int(draws.integers(2**62))
                pixels[:count] = sample_pixels(generator, count, seed).cpu()
            yield pixels


@torch.no_grad()
def fit_linear(pair: StartOperator, config: LatentStartConfig) -> None:
    """Fit the initialiser's linear part to the best estimate of w on samples.

    Samples of the generator are sent over the links at random rates and SNRs; their w is known.
    """
    generator, start = pair.given.generator, pair.start
    device = generator.latent_avg.device
    seen, wanted = [], []
    for number, first in enumerate(range(0, config.linear_images, config.batch_size)):
        count = min(config.batch_size, config.linear_images - first)
        draws = torch.Generator().manual_seed(config.seed * 2**32 + number)
        w = generator.mapping(torch.randn(count, generator.style_dim, generator=draws).to(device))
        shown = generator.synthesis(w, generator.random_noise(count, draws))
        # Numbers beyond those of training images, so that their noise differs.
        numbers = range(config.images + first, config.images + first + count)
        drawn = draw_batch(config.seed, numbers, config.snr_db, config.num_symbols, device)
        rate = draw_rate(config.seed, number, config.rates)
        images = ((shown + 1) / 2).clamp(0, 1)
        x_hat = pair.receive(images, drawn.snr_db, drawn.unit_noise, rate)
        seen.append(coarse(x_hat).double())
        wanted.append(((w - start.mean) / start.spread).double())
    weight, bias = ridge_regression(torch.cat(seen), torch.cat(wanted))
    start.linear.weight.copy_(weight.repeat(start.num_ws, 1))
    start.linear.bias.copy_(bias.repeat(start.num_ws))


def ridge_regression(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Fit weight [O, I] and bias [O] with y = weight x + bias, regularised for unseen x.

    Every eighth row is held out to choose the damping, which may be so strong that only the mean
    remains.

    Args:
        x: [N, I].
        y: [N, O].
    """
    held_out = torch.arange(len(x), device=x.device) % 8 == 7
    held_x, held_y, x, y = x[held_out], y[held_out], x[~held_out], y[~held_out]
    x_mean, y_mean = x.mean(0), y.mean(0)
    centred, identity = x - x_mean, torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    gram, moment = centred.T @ centred, centred.T @ (y - y_mean)
    best = torch.zeros(y.shape[1], x.shape[1], dtype=x.dtype, device=x.device)
    lowest = (held_y - y_mean).square().mean()
    for damping in _DAMPINGS:
        scale = damping * centred.square().mean() * len(x)
        weight = torch.linalg.solve(gram + scale * identity, moment).T
        error = ((held_x - x_mean) @ weight.T + y_mean - held_y).square().mean()
        if error < lowest:
            best, lowest = weight, error
    return best, y_mean - best @ x_mean


@torch.no_grad()
def sample_pixels(generator: nn.Module, count: int, seed: int) -> Tensor:
    """Draw samples of a generator, uint8 [count, 3, S, S]."""
    if not isinstance(generator, Generator):
        raise TypeError(f"{type(generator).__name__} is not a generator")
    draws = torch.Generator().manual_seed(seed)
    z = torch.randn(count, generator.style_dim, generator=draws)
    noise = generator.random_noise(count, draws)
    images: Tensor = generator(z.to(generator.latent_avg.device), noise)
    return ((images + 1) / 2).clamp(0, 1).mul(255).round().to(torch.uint8)


def fit(
    config: LatentStartConfig,
    folder: Path,
    fabric: Fabric,
    report: Callable[[LatentStartTraining, dict[str, float]], None] = lambda _t, _v: None,
) -> LatentStartTraining:
    """Train until all images are used or a signal arrives; resume from a checkpoint.

    Args:
        config: the run.
        folder: folder of checkpoint, logs and sheets.
        fabric: launched Fabric, which sets device, precision and processes.
        report: called as by `genjscc.training.loop.fit`.
    """
    return loop.fit(LatentStartTraining(config, folder, fabric), report)


def export_start(run: Path, folder: Path | None = None) -> GeneratorConfig:
    """Write a run's (averaged) initialiser into its generator's bundle.

    Args:
        run: folder of the training run.
        folder: folder of the generator's bundle (None: that of the run).

    Raises:
        InvalidInputError: the run has no checkpoint of an initialiser.
    """
    state = RunFolder(run).load() if run.is_dir() else None
    if state is None or state.get("scheme") != LatentStartTraining.scheme:
        raise InvalidInputError("run", f"{run} holds no checkpoint of an initialiser")
    config = LatentStartConfig.model_validate(state["config"])
    folder = (config.generator if folder is None else folder).resolve()
    trained_with = state["facts"]["generator"]
    if _sha256(folder) != trained_with:
        raise InvalidInputError(
            "generator",
            f"{folder} differs from the generator of the run (SHA-256 {trained_with})",
        )
    pair = build(config.model_copy(update={"generator": folder}))
    load_trained(pair, state["average"] or state["pair"], FROZEN)
    sha256 = write_weights(pair.start, folder / START, torch.float16)
    declared = read_generator_config(folder)
    written = declared.model_copy(update={"files": {**declared.files, START: sha256}})
    write_declaration(folder, written, _card(folder / CARD, config, state["images"]))
    return written


def _sha256(generator: Path) -> str:
    return read_generator_config(generator.resolve()).files[GENERATOR]


def _card(path: Path, config: LatentStartConfig, images: int) -> str:
    """Return the generator's card with a new paragraph on its initialiser."""
    generators = (
        path.read_text(encoding="utf-8").split(_CARD_HEADING)[0].rstrip() if path.exists() else ""
    )
    pairs = ", ".join(pair.name for pair in config.pairs)
    channels = ", ".join(map(str, config.channel_steps or (config.symbol_channels,)))
    low, high = config.snr_db
    return (
        f"{generators}\n\n{_CARD_HEADING}\n\n`{START}` predicts inversions' initial latents. Width "
        f"{config.width}; {images} training images, repeats included, {config.sample_share:.0%} of "
        f"them the generator's own; sent over {pairs} with {channels} bottleneck channels at "
        f"{low:g} to {high:g} dB. Loss: {config.mse_weight:g} x MSE + "
        f"{config.perceptual_weight if config.perceptual else 0:g} x "
        f"{', '.join(config.perceptual) or 'no perceptual term'}.\n"
    )
