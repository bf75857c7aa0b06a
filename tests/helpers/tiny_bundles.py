# SPDX-License-Identifier: Apache-2.0
"""Tiny pairs with weights from a fixed rule, the same on every machine."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from genjscc.bundles.config import BundleConfig, SharedEncoder
from genjscc.bundles.store import write_bundle
from genjscc.training.stylegan2.codes import CodeEncoder, fit_basis, start_mapping
from receiver.deepjscc import Decoder
from receiver.generative import LatentDecoder, LatentSpace
from receiver.stylegan2.checkpoints import save_bundle
from receiver.stylegan2.generator import Generator
from transmitter.encoder import Encoder

RATES = {"1/768": 2, "1/192": 8, "1/48": 32}
MULTI, SINGLE = "tiny-multi", "tiny-single"
GENERATIVE, GENERATOR = "tiny-generative", "tiny-generator"


def fill_by_rule(module: nn.Module, seed: int) -> nn.Module:
    """Fill with Gaussian weights of variance 1/fan-in; the GDN keeps its initial values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith(("beta", "gamma")):
                continue
            fan_in = max(1, parameter[0].numel())
            draws = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(draws / fan_in**0.5)
    return module


def write_tiny(
    root: Path, name: str, *, steps: tuple[int, ...] = (), channels: int = 8
) -> BundleConfig:
    """Write a pair of width 8 below `root`."""
    seed = sum(name.encode())
    return write_bundle(
        root,
        fill_by_rule(Encoder(8, channels, steps), seed),
        fill_by_rule(Decoder(8, channels, steps), seed + 1),
        card=f"# {name}\n",
        declared={
            "name": name,
            "width": 8,
            "symbol_channels": channels,
            "channel_steps": steps,
            "domain": "noise",
            "image_size": 64,
            "snr_db": (-5.0, 5.0),
            "licence": "Apache-2.0",
        },
    )


def write_tiny_decoder(root: Path, name: str, pair: BundleConfig) -> BundleConfig:
    """Write a second decoder for the codewords of a tiny pair in the same folder."""
    sha256 = pair.files["encoder.safetensors"]
    decoder = Decoder(8, pair.symbol_channels, pair.channel_steps)
    declared = pair.model_dump(exclude={"pair_id", "shared_encoder", "files"})
    return write_bundle(
        root,
        SharedEncoder(bundle=pair.name, pair_id=pair.pair_id, sha256=sha256),
        fill_by_rule(decoder, sum(name.encode()) + 1),
        card=f"# {name}\n",
        declared={**declared, "name": name},
    )


def write_both(root: Path) -> dict[str, BundleConfig]:
    """Write a pair for three rates and one for a single rate."""
    multi = write_tiny(root, MULTI, steps=(2, 8, 32), channels=32)
    return {MULTI: multi, SINGLE: write_tiny(root, SINGLE)}


def tiny_face_generator() -> Generator:
    """Return a generator of 64x64 pixels with noise inputs that matter."""
    generator = fill_by_rule(Generator((8, 8, 8, 8, 8), 16, 2), 5)
    assert isinstance(generator, Generator)
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.startswith("style."):
                parameter.mul_(100)  # they are stored 100 times as large as used
        generator.latent_avg.copy_(generator.mean_latent())
    return generator.eval()


def write_coded_generator(folder: Path) -> None:
    """Write the tiny generator with codes, like one trained by GenJSCC."""
    generator = tiny_face_generator()
    images = torch.rand(40, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    basis = fit_basis(images, generator.style_dim, seed=1)
    start_mapping(generator, basis.deviation)
    generator.latent_avg.copy_(generator.mean_latent())
    save_bundle(generator, folder, "# tiny\n", codes=CodeEncoder(basis, 64, 0))


def write_tiny_generative(
    root: Path,
    name: str = GENERATIVE,
    *,
    steps: tuple[int, ...] = (2, 8, 32),
    latent: LatentSpace = "w",
    latent_part: int = 0,
) -> BundleConfig:
    """Write a GenerativeJSCC pair of width 8 for 64x64 pixels, and its generator."""
    generator = tiny_face_generator()
    written = save_bundle(generator, root / GENERATOR, "# tiny\n")
    seed = sum(name.encode())
    latents = LatentDecoder(
        8, 32, steps, size=64, style_dim=16, latent=latent, latent_part=latent_part
    )
    fill_by_rule(latents, seed + 1)
    latents.start_at_mean(generator)
    return write_bundle(
        root,
        fill_by_rule(Encoder(8, 32, steps), seed),
        latents,
        card=f"# {name}\n",
        declared={
            "name": name,
            "scheme": "generative",
            "width": 8,
            "symbol_channels": 32,
            "channel_steps": steps,
            "generative": {
                "generator": GENERATOR,
                "generator_sha256": written.files["generator.safetensors"],
                "style_dim": 16,
                "latent": latent,
                "latent_layers": 4,
                "latent_grid": 1,
                "latent_part": latent_part,
                "noise": True,
            },
            "domain": "noise",
            "image_size": 64,
            "snr_db": (-5.0, 5.0),
            "licence": "Apache-2.0",
        },
    )
