# SPDX-License-Identifier: Apache-2.0
"""Training of a GenerativeJSCC pair around a frozen generator (Section IV-B of the paper).

Stage 1 learns everything but the projections P_n, which start at zero: the noise inputs that they
feed get zeros. In stage 2 the P_n learn at the initial rate, all else at a hundredth of it. The
loss is that of DeepJSCC (eq. 16).

Stage 1 may be preceded by one that is not the paper's. A generator that was trained here decodes
the codes of photographs (`genjscc.training.stylegan2_codes`), so each training image has a latent
that shows it. The squared error to that latent teaches encoder and decoder what to carry, without
a pass through generator and perceptual network.

In both stages the noise inputs that no P_n feeds keep the generator's fixed buffers
(`receiver.generative` says which those are), so that an image depends on symbols and SNR alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from genjscc.bundles.config import BundleConfig
from genjscc.bundles.store import GENERATOR, read_generator_config
from genjscc.errors import InvalidInputError
from genjscc.training import loop
from genjscc.training.config import GenerativeJSCCConfig
from genjscc.training.loop import PairTraining, Stage, refuse_other_sizes
from genjscc.training.stylegan2_codes import CodeBasis, CodeEncoder, latent_offset, read_codes
from receiver.forward import ForwardOperator, send
from receiver.generative import GenerativeDecoder, LatentDecoder
from receiver.models import Generators, load_latents
from transmitter.encoder import Encoder

FROZEN = "decoder.generator"
_TO_NOISE = "decoder.latents.to_noise"
_CODES = 0


def build_pair(config: GenerativeJSCCConfig) -> ForwardOperator:
    """The untrained encoder and decoder of a run, from its seed, around its generator.

    Raises:
        BundleError: the generator's bundle is missing or broken.
        InvalidInputError: it does not fit the images.
    """
    path = config.generator
    if not path.is_dir():
        raise InvalidInputError(
            "generator",
            f"{path} is not a generator's bundle; genjscc convert-stylegan2 makes one of a "
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
    sizes = (config.width, config.symbol_channels, config.channel_steps)
    encoder = Encoder(*sizes, af=config.af)
    try:
        latents = LatentDecoder(
            *sizes,
            size=generator.size,
            style_dim=generator.style_dim,
            latent=config.latent,
            latent_layers=config.latent_layers,
            latent_grid=config.latent_grid,
            noise=config.noise,
            af=config.af,
        )
    except ValueError as error:
        raise InvalidInputError("generator", f"{path}: {error}") from error
    latents.start_at_mean(generator)
    # The generator keeps its layout: its weights have five dimensions.
    for part in (encoder, latents):
        part.to(memory_format=torch.channels_last)
    return ForwardOperator(encoder, GenerativeDecoder(latents, generator))


class ToLatent(nn.Module):
    """The pair as far as L, [B, style_dim] or [B, num_ws, style_dim]."""

    def __init__(self, pair: nn.Module) -> None:
        super().__init__()
        self.encoder = pair.get_submodule("encoder")
        self.latents = pair.get_submodule("decoder.latents")

    def forward(
        self, images: Tensor, snr_db: Tensor, unit_noise: Tensor, channels: int | None = None
    ) -> Tensor:
        """Arguments as `ForwardOperator.forward`."""
        if not isinstance(self.encoder, Encoder):
            raise TypeError(f"{type(self.encoder).__name__} is no encoder")
        z_hat = send(self.encoder, images, snr_db, unit_noise, channels)
        latent: Tensor = self.latents(z_hat, snr_db)[0]
        return latent


class Codes(nn.Module):
    """The latents that show photographs, as the generator's own training knows them.

    Their squared deviation from the mean is 1 on average over the axes.

    Raises:
        InvalidInputError: the generator was not trained here.
    """

    offset: Tensor

    def __init__(self, generator: Path, image_size: int) -> None:
        super().__init__()
        state = read_codes(generator, "code_images", "; must be 0")
        basis = CodeBasis(*(state[name] for name in CodeBasis._fields))
        first = state.get("network.0.weight")
        self.encoder = CodeEncoder(basis, image_size, 0 if first is None else len(first))
        self.encoder.load_state_dict(state)
        self.register_buffer("offset", latent_offset(basis.deviation))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, S, S] in [0, 1] -> w [B, 1, style_dim]."""
        code: Tensor = self.encoder(2 * images.float() - 1)[0]
        return (code + self.offset).unsqueeze(1)


class GenerativeTraining(PairTraining[GenerativeJSCCConfig]):
    """A run in the paper's two stages, the codes' before them."""

    scheme = "generative"
    frozen = FROZEN

    def __init__(self, config: GenerativeJSCCConfig, folder: Path, fabric: Fabric) -> None:
        super().__init__(config, folder, fabric)
        if config.code_images:
            self.codes = Codes(config.generator.resolve(), config.image_size).to(fabric.device)

    def build(self) -> ForwardOperator:
        return build_pair(self.config)

    def load_initial_decoder(self, pair: nn.Module, root: Path, declared: BundleConfig) -> None:
        if declared.generative is not None:
            fields = ("latent", "latent_layers", "latent_grid", "noise")
            refuse_other_sizes(root / declared.name, self.config, declared.generative, fields)
        latents = pair.get_submodule("decoder.latents")
        self.take_over(latents, load_latents(root, declared), declared)

    def plan(self) -> Sequence[Stage]:
        config = self.config
        return [
            Stage(config.code_images, (1.0, 0.0)),
            Stage(config.stage1_images, (1.0, 0.0)),
            Stage(config.stage2_images, (config.stage2_share, 1.0)),
        ]

    def groups(self, pair: nn.Module) -> Sequence[Sequence[nn.Parameter]]:
        """All that learns but the P_n; the P_n."""
        noise = list(pair.get_submodule(_TO_NOISE).parameters())
        apart = {id(parameter) for parameter in noise}
        apart |= {id(parameter) for parameter in pair.get_submodule(FROZEN).parameters()}
        return [[p for p in pair.parameters() if id(p) not in apart], noise]

    def trained_module(self) -> nn.Module:
        return ToLatent(self.pair) if self.stage == _CODES else self.pair

    def terms(self, images: Tensor, output: Tensor) -> dict[str, Tensor]:
        if self.stage != _CODES:
            return super().terms(images, output)
        latent = output.reshape(len(images), -1, self.codes.offset.numel())
        loss = (latent - self.codes(images)).square().mean()
        return {"loss": loss, "codes": loss}

    def facts(self) -> dict[str, str]:
        return {"generator": generator_sha256(self.config)}


def generator_sha256(config: GenerativeJSCCConfig) -> str:
    """Of the weight file of a run's generator."""
    return read_generator_config(config.generator.resolve()).files[GENERATOR]


def fit(
    config: GenerativeJSCCConfig,
    folder: Path,
    fabric: Fabric,
    report: Callable[[GenerativeTraining, dict[str, float]], None] = lambda _t, _v: None,
) -> GenerativeTraining:
    """Trains until both stages are over or a signal comes; resumes by itself.

    Args:
        config: the run.
        folder: where its checkpoint, logs and sheets go; one that holds a checkpoint goes on.
        fabric: launched; says device, precision and processes.
        report: as `genjscc.training.loop.fit`.
    """
    return loop.fit(GenerativeTraining(config, folder, fabric), report)
