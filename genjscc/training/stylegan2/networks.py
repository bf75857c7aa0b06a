# SPDX-License-Identifier: Apache-2.0
"""Networks of a StyleGAN2 run and their optimisers."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from genjscc.errors import InvalidInputError
from genjscc.quality.fast_backward import PerceptualFeatures
from genjscc.training.adversarial.discriminator import Discriminator
from genjscc.training.adversarial.features import DiscriminatorFeatures
from genjscc.training.averaging import move_average
from genjscc.training.data import ImageFolder
from genjscc.training.stylegan2.codes import (
    CodeBasis,
    CodeEncoder,
    LatentCritic,
    fit_basis,
    latent_offset,
    read_codes,
    shift_latents,
    start_mapping,
)
from genjscc.training.stylegan2.config import StyleGAN2Config
from receiver.stylegan2.checkpoints import load_bundle
from receiver.stylegan2.generator import Generator

# Initial fraction of the usual style weights in a run from scratch, so that codes act gently.
_STYLE_START = 0.3
_CALIBRATION_IMAGES = 128
TRAINED = ("generator", "average", "encoder", "discriminator", "critic")


@dataclass
class Networks:
    """Networks of a run; both copies of the generator take centred latents: code = w - offset."""

    generator: Generator
    average: Generator
    encoder: CodeEncoder
    discriminator: Discriminator
    critic: LatentCritic
    perceptual: PerceptualFeatures
    features: DiscriminatorFeatures
    offset: Tensor

    def state_dict(self) -> dict[str, Any]:
        """Return the networks' part of a checkpoint."""
        encoder = self.encoder
        state: dict[str, Any] = {name: getattr(self, name).state_dict() for name in TRAINED}
        return state | {"basis": [encoder.mean, encoder.components, encoder.deviation]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the given trained weights."""
        for name in TRAINED:
            if name in state:
                getattr(self, name).load_state_dict(state[name])

    def averaged_codes(self, z: Tensor) -> Tensor:
        """Map z by the averaged mapping to centred codes. [B, style_dim] -> the same."""
        return self.average.mapping(z.to(self.offset.device)) - self.offset

    def update_average(self, decay: float, step: int) -> None:
        """Move the averaged generator towards the trained one."""
        averaged = list(self.average.parameters())
        move_average(averaged, list(self.generator.parameters()), decay, step)


def build_networks(
    config: StyleGAN2Config, data: ImageFolder, fabric: Fabric, start: dict[str, Any] | None
) -> Networks:
    """Build the networks from the seed or from initial weights, equal on all processes."""
    torch.manual_seed(config.seed)
    features = DiscriminatorFeatures(config.discriminator_side).to(fabric.device)
    basis = _fitted(config, data, fabric) if start is None else CodeBasis(*start["basis"])
    generator = Generator(config.widths, config.style_dim, config.mapping_layers)
    start_mapping(generator, basis.deviation)
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("modulation.weight"):
                parameter.mul_(_STYLE_START)
            if name.endswith("noise.weight"):
                parameter.fill_(config.noise_strength)
        calibration = features(_images(data, _CALIBRATION_IMAGES).to(fabric.device))
    encoder = CodeEncoder(basis, config.image_size, config.encoder_width)
    networks = Networks(
        generator=generator.to(fabric.device),
        average=copy.deepcopy(generator).to(fabric.device).eval().requires_grad_(False),
        encoder=encoder.to(fabric.device),
        discriminator=Discriminator(calibration, config.image_size, pixels=config.pixel_head).to(
            fabric.device
        ),
        critic=LatentCritic(config.style_dim).to(fabric.device),
        perceptual=PerceptualFeatures().to(fabric.device),
        features=features,
        offset=latent_offset(basis.deviation).to(fabric.device),
    )
    if start is not None:
        networks.load_state_dict(start)
    return networks


def load_initial_networks(path: Path) -> dict[str, Any]:
    """Load the networks in another run's checkpoint or in its bundle.

    A bundle has no discriminator and no critic: those are initialised from the seed.

    Raises:
        InvalidInputError: the file is missing or holds something else.
        BundleError: the bundle is broken.
    """
    if path.is_dir():
        return _load_bundle(path)
    if not path.is_file():
        raise InvalidInputError("init", f"{path} is not a file")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    missing = [name for name in (*TRAINED, "basis") if name not in state]
    if missing:
        raise InvalidInputError("init", f"{path} holds no {', '.join(missing)}")
    return state


def _load_bundle(folder: Path) -> dict[str, Any]:
    encoder = read_codes(folder, "init")
    basis = CodeBasis(*(encoder[name] for name in CodeBasis._fields))
    generator = load_bundle(folder)
    shift_latents(generator, latent_offset(basis.deviation))
    state = generator.state_dict()
    return {"generator": state, "average": state, "encoder": encoder, "basis": list(basis)}


def make_optimizers(
    config: StyleGAN2Config, networks: Networks
) -> dict[str, torch.optim.Optimizer]:
    """Create Adam for each part; every parameter group stores its peak rate under `peak`."""
    mapping = list(networks.generator.style.parameters())
    in_mapping = set(mapping)
    synthesis = [p for p in networks.generator.parameters() if p not in in_mapping]
    groups = {
        "generator": [
            (synthesis, config.learning_rate),
            (mapping, config.mapping_learning_rate),
            (list(networks.encoder.parameters()), config.encoder_learning_rate),
        ],
        "discriminator": [
            (list(networks.discriminator.parameters()), config.discriminator_learning_rate)
        ],
        "critic": [(list(networks.critic.parameters()), config.critic_learning_rate)],
        # A second Adam on the mapping, because the critic's gradients have a different scale.
        "latent": [(mapping, config.latent_learning_rate)],
    }
    return {
        name: torch.optim.Adam(
            [{"params": parameters, "peak": peak} for parameters, peak in parts if parameters],
            lr=1.0,
            betas=config.betas,
            fused=True,
        )
        for name, parts in groups.items()
    }


def parameters_of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Return all parameters of an optimiser, in order."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def to_float(pixels: Tensor) -> Tensor:
    """Convert uint8 pixels to float32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def _images(data: ImageFolder, count: int) -> Tensor:
    """Load at most `count` training images, evenly spaced, [N, 3, S, S] in [-1, 1]."""
    count = min(count, len(data))
    return to_float(torch.stack([data[i * len(data) // count] for i in range(count)]))


def _fitted(config: StyleGAN2Config, data: ImageFolder, fabric: Fabric) -> CodeBasis:
    """Compute the code basis on the first process and broadcast it."""
    basis = None
    if fabric.is_global_zero:
        basis = fit_basis(_images(data, config.basis_images), config.style_dim, config.seed)
    received = fabric.broadcast(basis)
    if received is None:
        raise RuntimeError("the first process sent no code basis")
    return received
