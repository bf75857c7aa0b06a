# SPDX-License-Identifier: Apache-2.0
"""Training of a GenerativeJSCC pair around a frozen generator (Section IV-B of the paper).

Stage 1 trains everything but the projections P_n, which start at zero: the noise inputs that they
feed are zero. Stage 2 trains the P_n at the initial rate and all else at a hundredth of it. The
loss is that of DeepJSCC (eq. 16).

Stage 1 may be preceded by a stage that is not in the paper (`genjscc.training.codes_first`).

In both stages the noise inputs that no P_n feeds keep the generator's fixed buffers
(`receiver.generative` lists them), so that an image depends only on symbols and SNR.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from genjscc.bundles.config import BundleConfig
from genjscc.bundles.store import GENERATOR, read_generator_config
from genjscc.errors import InvalidInputError
from genjscc.training import loop
from genjscc.training.codes_first import CodesFirst
from genjscc.training.config import GenerativeJSCCConfig
from genjscc.training.loop import Stage, refuse_other_sizes
from receiver.forward import ForwardOperator, send
from receiver.generative import NUM_BLOCKS, GenerativeDecoder, LatentDecoder
from receiver.models import Generators, load_latents
from transmitter.encoder import Encoder

FROZEN = "decoder.generator"
_TO_NOISE = "decoder.latents.to_noise"


def build_pair(config: GenerativeJSCCConfig) -> ForwardOperator:
    """Build the untrained encoder and decoder of a run, from its seed, around its generator.

    Raises:
        BundleError: the generator's bundle is missing or broken.
        InvalidInputError: the generator does not fit the images.
    """
    path = config.generator
    if not path.is_dir():
        raise InvalidInputError(
            "generator",
            f"{path} is not a generator's bundle; genjscc convert-stylegan2 makes one from a "
            "checkpoint",
        )
    path = path.resolve()
    generator = Generators(path.parent).load(path.name)
    if generator.size != config.image_size:
        raise InvalidInputError(
            "image_size",
            f"got {config.image_size}; the generator in {path} makes "
            f"{generator.size}x{generator.size} pixels",
        )
    torch.manual_seed(config.seed)
    sizes = (config.channels, config.symbol_channels, config.channel_steps)
    encoder = Encoder(*sizes, af=config.af)
    try:
        latents = LatentDecoder(
            *sizes,
            size=generator.size,
            style_dim=generator.style_dim,
            latent=config.latent,
            latent_layers=config.latent_layers,
            latent_grid=config.latent_grid,
            latent_part=config.latent_part,
            noise=config.noise,
            af=config.af,
        )
    except ValueError as error:
        raise InvalidInputError("generator", f"{path}: {error}") from error
    latents.start_at_mean(generator)
    # The generator keeps its memory layout: its weights have five dimensions.
    for part in (encoder, latents):
        part.to(memory_format=torch.channels_last)
    return ForwardOperator(encoder, GenerativeDecoder(latents, generator))


class ToLatent(nn.Module):
    """The pair up to its latents L, [B, style_dim] or [B, num_ws, style_dim]."""

    def __init__(self, pair: nn.Module) -> None:
        super().__init__()
        self.encoder = pair.get_submodule("encoder")
        self.latents = pair.get_submodule("decoder.latents")

    def forward(
        self, images: Tensor, snr_db: Tensor, unit_noise: Tensor, channels: int | None = None
    ) -> Tensor:
        """Compute L; the arguments are those of `ForwardOperator.forward`."""
        if not isinstance(self.encoder, Encoder):
            raise TypeError(f"{type(self.encoder).__name__} is not an encoder")
        z_hat = send(self.encoder, images, snr_db, unit_noise, channels)
        latent: Tensor = self.latents(z_hat, snr_db)[0]
        return latent


class GenerativeTraining(CodesFirst[GenerativeJSCCConfig]):
    """A run in the paper's two stages, preceded by the stage that learns codes."""

    scheme = "generative"
    frozen = FROZEN

    def build(self) -> ForwardOperator:
        return build_pair(self.config)

    def load_initial_decoder(self, pair: nn.Module, root: Path, declared: BundleConfig) -> None:
        given = declared.generative
        latents, other = pair.get_submodule("decoder.latents"), load_latents(root, declared)
        if given is not None:
            widens = (given.latent, self.config.latent) == ("w", "w+")
            fields = ["latent_layers", "latent_grid", "noise", *([] if widens else ["latent"])]
            eighth = given.style_dim // NUM_BLOCKS
            grows = not given.latent_part and self.config.latent_part > eighth
            fields += [] if grows else ["latent_part"]
            refuse_other_sizes(root / declared.name, self.config, given, fields)
            if widens:
                _widen(other.latent_mlp, latents)
            if grows:
                _grow_parts(other, latents)
        self.take_over(latents, other, declared)

    def later_stages(self) -> Sequence[Stage]:
        config = self.config
        return [
            Stage(config.stage1_images, (1.0, 0.0)),
            Stage(config.stage2_images, (config.stage2_share, 1.0)),
        ]

    def groups(self, pair: nn.Module) -> Sequence[Sequence[nn.Parameter]]:
        """Return the trained parameters without the P_n, and the P_n."""
        noise = list(pair.get_submodule(_TO_NOISE).parameters())
        apart = {id(parameter) for parameter in noise}
        apart |= {id(parameter) for parameter in pair.get_submodule(FROZEN).parameters()}
        return [[p for p in pair.parameters() if id(p) not in apart], noise]

    def to_latent(self, pair: nn.Module) -> nn.Module:
        return ToLatent(pair)

    def facts(self) -> dict[str, str]:
        return {"generator": generator_sha256(self.config)}


@torch.no_grad()
def _widen(mlp: nn.Sequential, latents: nn.Module) -> None:
    """Widen an MLP from W to W+, with the same style for each layer."""
    last = mlp[-1]
    if not isinstance(last, nn.Linear) or not isinstance(latents, LatentDecoder):
        raise TypeError("not the networks of GenerativeJSCC")
    wide = nn.Linear(last.in_features, last.out_features * latents.num_ws)
    wide.weight.copy_(last.weight.repeat(latents.num_ws, 1))
    wide.bias.copy_(last.bias.repeat(latents.num_ws))
    mlp[-1] = wide


@torch.no_grad()
def _grow_parts(other: LatentDecoder, latents: nn.Module) -> None:
    """Grow P_l beyond an eighth of a latent each; the new values have no effect at first."""
    if not isinstance(latents, LatentDecoder):
        raise TypeError("not the networks of GenerativeJSCC")
    first, wide_first = other.latent_mlp[0], copy.deepcopy(latents.latent_mlp[0])
    if not isinstance(first, nn.Linear) or not isinstance(wide_first, nn.Linear):
        raise TypeError("not the networks of GenerativeJSCC")
    old, new = first.in_features // NUM_BLOCKS, wide_first.in_features // NUM_BLOCKS
    wide_first.weight.zero_()
    wide_first.bias.copy_(first.bias)
    by_part = wide_first.weight.view(-1, NUM_BLOCKS, new)
    by_part[:, :, :old] = first.weight.view(-1, NUM_BLOCKS, old)
    other.latent_mlp[0] = wide_first
    for i, head in enumerate(latents.to_latent):
        wide, narrow = copy.deepcopy(head), other.to_latent[i]
        for name, values in wide.named_parameters():
            values[:old] = narrow.get_parameter(name)
        other.to_latent[i] = wide


def generator_sha256(config: GenerativeJSCCConfig) -> str:
    """Return the SHA-256 of the weight file of a run's generator."""
    return read_generator_config(config.generator.resolve()).files[GENERATOR]


def fit(
    config: GenerativeJSCCConfig,
    folder: Path,
    fabric: Fabric,
    report: Callable[[GenerativeTraining, dict[str, float]], None] = lambda _t, _v: None,
) -> GenerativeTraining:
    """Train until all stages are complete or a signal arrives; resume from a checkpoint.

    Args:
        config: the run.
        folder: folder of checkpoint, logs and sheets.
        fabric: launched Fabric, which sets device, precision and processes.
        report: called as by `genjscc.training.loop.fit`.
    """
    return loop.fit(GenerativeTraining(config, folder, fabric), report)
