# SPDX-License-Identifier: Apache-2.0
"""Export of a training run as a bundle."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from genjscc.bundles.config import BundleConfig, SharedEncoder
from genjscc.bundles.store import (
    CARD,
    GENERATOR,
    encoder_sha256,
    read_config,
    read_generator_config,
    write_bundle,
)
from genjscc.errors import InvalidInputError
from genjscc.layers.stages import stage_widths
from genjscc.training import deepjscc, generative
from genjscc.training.config import DeepJSCCConfig, GenerativeJSCCConfig, PairConfig
from genjscc.training.loop import load_trained
from genjscc.training.run import RunFolder
from genjscc.wire.ratios import format_ratio


@dataclass(frozen=True)
class Exported:
    """Parts of a bundle that depend on the scheme."""

    config: PairConfig
    halves: tuple[nn.Module | SharedEncoder, nn.Module]
    """the encoder, or whose it is, and the part of the decoder that was trained"""
    declared: dict[str, object]
    """further fields of the bundle's config"""
    rows: dict[str, str]
    """further rows of the card"""


def export_run(
    run: Path,
    root: Path,
    *,
    name: str,
    domain: str,
    licence: str,
    notes: str = "",
    dtype: torch.dtype = torch.float16,
) -> BundleConfig:
    """Write the (averaged) weights of a run's checkpoint as bundle `name` below `root`.

    Weights are stored in `dtype`: a floating type, or torch.int8 for half of float16's size.
    A GenerativeJSCC pair names its generator, whose bundle is copied to `root` if it is not there.

    Raises:
        InvalidInputError: the run has no checkpoint, or `root` holds another generator by the
            name of the run's.
    """
    state = RunFolder(run).load() if run.is_dir() else None
    if state is None:
        raise InvalidInputError("run", f"{run} holds no checkpoint")
    # Runs from before there were schemes are of the first.
    exported = _EXPORTS[state.get("scheme", "deepjscc")](state, root)
    config = exported.config
    declared: dict[str, object] = {
        "name": name,
        "width": config.width,
        "symbol_channels": config.symbol_channels,
        "channel_steps": config.channel_steps,
        "af": config.af,
        "domain": domain,
        "image_size": config.image_size,
        "snr_db": config.snr_db,
        "licence": licence,
        **exported.declared,
    }
    written = write_bundle(root, *exported.halves, card="", declared=declared, dtype=dtype)
    weights = f"{str(dtype).removeprefix('torch.')} safetensors"
    card = _card(exported, written, state["images"], weights, notes)
    (root / name / CARD).write_text(card, encoding="utf-8")
    return written


def _deepjscc(state: dict[str, Any], root: Path) -> Exported:
    config = DeepJSCCConfig.model_validate(state["config"])
    pair = deepjscc.build_pair(config)
    frozen = deepjscc.frozen_part(config)
    load_trained(pair, state["average"] or state["pair"], frozen)
    rows = {"linear path": "a 16x16 transform beside both networks"} if config.linear_path else {}
    encoder: nn.Module | SharedEncoder = pair.encoder
    if frozen:
        encoder = _frozen_encoder(config, state["facts"]["encoder"], root)
        rows["encoder"] = f"that of {encoder.bundle}; only the decoder learned"
    if config.adversarial:
        rows["adversarial"] = (
            f"projected discriminator, {config.adversarial:g} of the other terms' gradient, "
            f"after {config.adversarial_after} images"
        )
    if config.grid_weight:
        rows["grid"] = f"{config.grid_weight:g} x grid share of the error (periods 2, 4, 8, 16)"
    return Exported(config, (encoder, pair.decoder), {"linear_path": config.linear_path}, rows)


def _frozen_encoder(config: DeepJSCCConfig, sha256: str, root: Path) -> SharedEncoder:
    shared = deepjscc.shared_encoder(config)
    if shared.sha256 != sha256:
        raise InvalidInputError(
            "initial_bundle",
            f"{config.initial_bundle} no longer has the encoder that the run was trained with",
        )
    beside = root / shared.bundle
    if encoder_sha256(read_config(beside)) != sha256:
        raise InvalidInputError(
            "bundles", f"{beside} has another encoder than {config.initial_bundle}"
        )
    return shared


def _generative(state: dict[str, Any], root: Path) -> Exported:
    config = GenerativeJSCCConfig.model_validate(state["config"])
    pair = generative.build_pair(config)
    load_trained(pair, state["average"] or state["pair"], generative.FROZEN)
    source = config.generator.resolve()
    sha256 = generative.generator_sha256(config)
    if sha256 != state["facts"]["generator"]:
        raise InvalidInputError(
            "generator", f"{source} is no longer the one that the run was trained with"
        )
    beside = root / source.name
    if not beside.exists():
        shutil.copytree(source, beside)
    elif read_generator_config(beside).files[GENERATOR] != sha256:
        raise InvalidInputError("generator", f"{beside} is another one than {source}")
    latents = pair.get_submodule("decoder.latents")
    part = {
        "generator": source.name,
        "generator_sha256": sha256,
        "style_dim": latents.style_dim,
        "latent": config.latent,
        "latent_layers": config.latent_layers,
        "latent_grid": config.latent_grid,
        "latent_part": config.latent_part,
        "noise": config.noise,
    }
    codes, first, second = _images_of_stages(state["stages"], state["images"])
    grid = config.latent_grid
    rows = {
        "generator": f"{source.name}, frozen; SHA-256 {sha256}",
        "latent": f"{config.latent.upper()}, {config.latent_layers} linear layers; P_l sees "
        + ("global means, as in the paper" if grid == 1 else f"{grid}x{grid} means")
        + (f" and makes {config.latent_part} numbers" if config.latent_part else ""),
        "noise maps": "from the symbols" if second else "zero",
        "stages": f"{codes} images of codes before the paper's stages, {first} in stage 1, "
        f"{second} in stage 2, where all but the P_n learn at {config.stage2_share:g} of the rate",
    }
    return Exported(
        config,
        (pair.encoder, latents),
        {"scheme": "generative", "generative": part},
        rows,
    )


def _images_of_stages(began: dict[int, int], images: int) -> list[int]:
    """Return the training images of each stage of a GenerativeJSCC run from the stages' starts."""
    ends = [*sorted(began.values())[1:], images]
    lengths = {stage: end - began[stage] for stage, end in zip(sorted(began), ends, strict=True)}
    return [lengths.get(stage, 0) for stage in range(3)]


_EXPORTS: dict[str, Callable[[dict[str, Any], Path], Exported]] = {
    "deepjscc": _deepjscc,
    "generative": _generative,
}
_TITLES = {
    "deepjscc": "A DeepJSCC pair: encoder and decoder that were trained together.",
    "generative": "A GenerativeJSCC pair: an encoder and a decoder around a frozen generator, "
    "trained together.",
}


def _title(written: BundleConfig) -> str:
    shared = written.shared_encoder
    if shared:
        return (
            f"A decoder for the codewords of `{shared.bundle}`: a sender need not know that the "
            "receiver uses it. The encoder is that of the other bundle."
        )
    return _TITLES[written.scheme]


def _width(config: PairConfig) -> str:
    widths = stage_widths(config.width)
    return str(widths[0]) if len(set(widths)) == 1 else "/".join(map(str, widths))


def _image_size(config: PairConfig, only_side: int | None) -> str:
    size = config.image_size
    if only_side:
        return f"{size}x{size} pixels; no other"
    if config.augmentation.cut == "window":
        return f"any; trained on windows of {size}x{size} pixels"
    return f"{size}x{size} pixels; any other size works, less well"


def _optimisers(config: PairConfig) -> str:
    adam = f"Adam{config.betas}, rate {config.learning_rate:g}"
    if not config.muon_learning_rate:
        return adam
    return f"Muon for the convolutions, rate {config.muon_learning_rate:g}; {adam}"


def _card(exported: Exported, written: BundleConfig, images: int, weights: str, notes: str) -> str:
    config = exported.config
    low, high = config.snr_db
    trained = [half for half in exported.halves if isinstance(half, nn.Module)]
    millions = sum(p.numel() for m in trained for p in m.parameters()) / 1e6
    distortion = "log(MSE)" if config.mse_scale == "log" else "MSE"
    loss = "no perceptual term"
    if config.perceptual:
        named = ", ".join(config.perceptual)
        named = f"mean of {named}" if len(config.perceptual) > 1 else named
        loss = f"{config.perceptual_weight:g} x {named}"
        if config.perceptual_after:
            loss += f" (the latter after {config.perceptual_after} images)"
    rates = (
        "one network for all ratios (a prefix of the bottleneck's channels is sent)"
        if config.channel_steps
        else "one ratio"
    )
    beside = ", a linear path beside it" if written.linear_path else ""
    rows = {
        "trained on": written.domain,
        "image size": _image_size(config, written.only_side),
        "bandwidth ratios rho = k/m": ", ".join(map(format_ratio, written.channels_by_ratio)),
        "SNR": f"{low:g} to {high:g} dB, drawn for each image",
        "network": f"width {_width(config)}, {millions:.2f} M trained parameters, "
        f"{'' if config.af else 'no AF modules, '}{rates}{beside}",
        **exported.rows,
        "loss": f"{config.mse_weight:g} x {distortion} + {loss}",
        "optimiser": f"{_optimisers(config)}, {config.schedule}, "
        f"batch {config.batch_size} per process, EMA {config.ema_decay:g}",
        "seen": f"{images} training images, repeats included; seed {config.seed}",
        "weights": weights,
        "licence": written.licence,
    }
    table = "\n".join(f"| {name} | {text} |" for name, text in rows.items())
    text = f"# {written.name}\n\n{_title(written)}\n\n| | |\n|---|---|\n{table}\n\n{notes}"
    return text.rstrip() + "\n"
