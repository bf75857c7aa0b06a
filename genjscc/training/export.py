# SPDX-License-Identifier: Apache-2.0
"""From a training run to a bundle."""

from __future__ import annotations

from pathlib import Path

from genjscc.bundles.config import BundleConfig
from genjscc.bundles.store import write_bundle
from genjscc.errors import InvalidInputError
from genjscc.training.config import DeepJSCCConfig
from genjscc.training.deepjscc import build_pair
from genjscc.training.run import RunFolder
from genjscc.wire.ratios import format_ratio

_CARD = """# {name}

A DeepJSCC pair: encoder and decoder that were trained together.

| | |
|---|---|
| trained on | {domain} |
| image size | {size}x{size} pixels; any other size works, less well |
| bandwidth ratios rho = k/m | {ratios} |
| SNR | {low:g} to {high:g} dB, drawn for each image |
| network | width {width}, {millions:.2f} M parameters, {rates} |
| loss | {mse:g} x MSE + {perceptual} |
| optimiser | Adam{betas}, rate {rate:g}, {schedule}, batch {batch} per process, EMA {ema:g} |
| seen | {images} training images, repeats included; seed {seed} |
| weights | float16 safetensors |
| licence | {licence} |

{notes}
"""


def export_run(
    run: Path, root: Path, *, name: str, domain: str, licence: str, notes: str = ""
) -> BundleConfig:
    """Writes the (averaged) weights of a run's checkpoint as bundle `name` below `root`.

    Raises:
        InvalidInputError: the run has no checkpoint.
    """
    state = RunFolder(run).load() if run.is_dir() else None
    if state is None:
        raise InvalidInputError("run", f"{run} holds no checkpoint")
    config = DeepJSCCConfig.model_validate(state["config"])
    pair = build_pair(config)
    pair.load_state_dict(state["average"] or state["pair"])
    declared: dict[str, object] = {
        "name": name,
        "width": config.width,
        "symbol_channels": config.symbol_channels,
        "channel_steps": config.channel_steps,
        "domain": domain,
        "image_size": config.image_size,
        "snr_db": config.snr_db,
        "licence": licence,
    }
    perceptual = "no perceptual term"
    if config.perceptual is not None:
        perceptual = f"{config.perceptual_weight:g} x {config.perceptual}"
        if config.perceptual_after:
            perceptual += f" (the latter after {config.perceptual_after} images)"
    written = write_bundle(root, pair.encoder, pair.decoder, card="", declared=declared)
    card = _CARD.format(
        **declared | {"notes": notes},
        size=config.image_size,
        ratios=", ".join(format_ratio(ratio) for ratio in written.channels_by_ratio),
        low=config.snr_db[0],
        high=config.snr_db[1],
        millions=sum(p.numel() for p in pair.parameters()) / 1e6,
        rates="one network for all ratios (a prefix of the bottleneck's channels is sent)"
        if config.channel_steps
        else "one ratio",
        mse=config.mse_weight,
        perceptual=perceptual,
        betas=config.betas,
        rate=config.learning_rate,
        schedule=config.schedule,
        batch=config.batch_size,
        ema=config.ema_decay,
        images=state["images"],
        seed=config.seed,
    )
    (root / name / "card.md").write_text(card.rstrip() + "\n")
    return written
