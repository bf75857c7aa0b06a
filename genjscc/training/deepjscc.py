# SPDX-License-Identifier: Apache-2.0
"""Training of a DeepJSCC pair (Sections IV-A and V-B of the paper)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from genjscc.bundles.config import BundleConfig, SharedEncoder
from genjscc.bundles.store import encoder_sha256, read_config
from genjscc.errors import BundleError, InvalidInputError
from genjscc.evaluation.linear import fit_linear, tiles_of
from genjscc.layers.bottleneck import STRIDE
from genjscc.layers.linear_path import BesideLinearPath, start_as_transform
from genjscc.layers.sequence import ConditionedSequence
from genjscc.layers.stages import stage_widths
from genjscc.training import loop
from genjscc.training.adversarial.term import AdversarialTerm
from genjscc.training.config import DeepJSCCConfig
from genjscc.training.data import ImageFolder
from genjscc.training.loop import PairTraining, Stage, refuse_other_sizes
from receiver.deepjscc import Decoder
from receiver.forward import ForwardOperator
from receiver.models import load_deepjscc
from transmitter.encoder import Encoder
from transmitter.models import load_encoder

# Training squares that the transform is fitted to: tens of thousands of patches.
_KLT_IMAGES = 600
# Training squares whose features standardise those that the discriminator sees.
_CALIBRATION_IMAGES = 64


def build_pair(config: DeepJSCCConfig) -> ForwardOperator:
    """Build the untrained encoder and decoder of a run, from its seed."""
    torch.manual_seed(config.seed)
    sizes = (stage_widths(config.width), config.symbol_channels, config.channel_steps)
    encoder = Encoder(*sizes, af=config.af, linear_path=config.linear_path)
    return ForwardOperator(encoder, Decoder(*sizes, af=config.af, linear_path=config.linear_path))


def fit_linear_path(pair: ForwardOperator, config: DeepJSCCConfig) -> None:
    """Initialise a pair's linear path with the Karhunen-Loève transform of training patches."""
    analysis, synthesis = _linear_paths(pair)
    data = ImageFolder(config.train, config.image_size, config.augmentation, seed=config.seed)
    chosen = [(i * len(data) // _KLT_IMAGES % len(data), i) for i in range(_KLT_IMAGES)]
    patches = torch.cat([tiles_of(data[key], STRIDE) for key in chosen]).float() / 255
    code = fit_linear(patches, config.symbol_channels, seed=config.seed)
    start_as_transform(
        analysis,
        synthesis,
        mean=code.mean,
        components=code.components,
        variances=code.variances,
        fewest=min(config.channel_steps, default=config.symbol_channels),
    )


def frozen_part(config: DeepJSCCConfig) -> str:
    """Return the name of the pair's submodule that does not learn; "" for none."""
    return "encoder" if config.freeze_encoder else ""


def shared_encoder(config: DeepJSCCConfig) -> SharedEncoder:
    """Return what a bundle says of the frozen encoder of a run.

    Raises:
        BundleError: the bundle that the run began from is no longer good.
    """
    bundle = _given_bundle(config)
    declared = read_config(bundle)
    sha256 = encoder_sha256(declared)
    if sha256 is None:
        raise BundleError(f"{bundle}: holds no encoder")
    own = declared.shared_encoder
    name = own.bundle if own else declared.name
    return SharedEncoder(bundle=name, pair_id=declared.codeword_pair_id, sha256=sha256)


def _given_encoder(config: DeepJSCCConfig) -> Encoder:
    bundle = _given_bundle(config)
    return load_encoder(bundle.parent, read_config(bundle))


def _given_bundle(config: DeepJSCCConfig) -> Path:
    if config.initial_bundle is None:
        raise InvalidInputError("initial_bundle", "got none; must name the frozen encoder's bundle")
    return config.initial_bundle.resolve()


def _beside_linear(pair: nn.Module) -> list[BesideLinearPath]:
    return [module for module in pair.modules() if isinstance(module, BesideLinearPath)]


def _linear_paths(pair: nn.Module) -> list[ConditionedSequence]:
    return [module.linear for module in _beside_linear(pair)]


class DeepJSCCTraining(PairTraining[DeepJSCCConfig]):
    """A run in which everything learns, after a first stage of the linear path if there is one.

    With `freeze_encoder` only the decoder learns.
    """

    scheme = "deepjscc"

    def __init__(self, config: DeepJSCCConfig, folder: Path, fabric: Fabric) -> None:
        self.frozen = frozen_part(config)
        self._adversarial: AdversarialTerm | None = None
        super().__init__(config, folder, fabric)

    def build(self) -> ForwardOperator:
        pair = build_pair(self.config).to(memory_format=torch.channels_last)
        if self.frozen:
            pair.encoder.load_state_dict(_given_encoder(self.config).state_dict())
            pair.encoder.requires_grad_(False)
        return pair

    def facts(self) -> dict[str, str]:
        if not self.frozen:
            return {}
        return {"encoder": shared_encoder(self.config).sha256}

    def restore_further(self, state: dict[str, Any]) -> None:
        config = self.config
        if not config.adversarial:
            return
        data = ImageFolder(config.train, config.image_size, config.augmentation, seed=config.seed)
        chosen = [(i * len(data) // _CALIBRATION_IMAGES, i) for i in range(_CALIBRATION_IMAGES)]
        self._adversarial = AdversarialTerm(
            torch.stack([data[key] for key in chosen]).float() / 255,
            share=config.adversarial,
            learning_rate=config.discriminator_learning_rate,
            seed=config.seed,
            fabric=self.fabric,
        )
        if state:
            self._adversarial.load_state_dict(state)

    def further_state(self) -> dict[str, Any]:
        return {} if self._adversarial is None else self._adversarial.state_dict()

    def terms(self, images: Tensor, output: Tensor) -> dict[str, Tensor]:
        terms = super().terms(images, output)
        if self._adversarial is None or self.images < self.config.adversarial_after:
            return terms
        terms |= self._adversarial(images, output, terms["loss"], self.step)
        return {**terms, "loss": terms["loss"] + terms["adversarial"]}

    def start(self, pair: nn.Module) -> None:
        if self.config.linear_path and isinstance(pair, ForwardOperator):
            fit_linear_path(pair, self.config)

    def groups(self, pair: nn.Module) -> Sequence[Sequence[nn.Parameter]]:
        """The linear path, if there is one, and all else that learns."""
        part = pair.get_submodule("decoder") if self.frozen else pair
        linear = [p for path in _linear_paths(part) for p in path.parameters()]
        if not linear:
            return [list(part.parameters())]
        known = {id(parameter) for parameter in linear}
        return [linear, [p for p in part.parameters() if id(p) not in known]]

    def trained_module(self) -> nn.Module:
        for module in _beside_linear(self.pair):
            module.linear_alone = self.stage == 0
        return self.pair

    def load_initial(self, pair: nn.Module, bundle: Path) -> None:
        refuse_other_sizes(bundle, self.config, read_config(bundle), ("linear_path",))
        super().load_initial(pair, bundle)

    def load_initial_decoder(self, pair: nn.Module, root: Path, declared: BundleConfig) -> None:
        self.take_over(pair.get_submodule("decoder"), load_deepjscc(root, declared), declared)

    def plan(self) -> Sequence[Stage]:
        if not self.config.linear_path:
            return [Stage(self.config.images, (1.0,))]
        alone = self.config.linear_images
        together = (self.config.linear_share, 1.0)
        return [Stage(alone, (1.0, 0.0)), Stage(self.config.images - alone, together)]


def fit(
    config: DeepJSCCConfig,
    folder: Path,
    fabric: Fabric,
    report: Callable[[DeepJSCCTraining, dict[str, float]], None] = lambda _t, _v: None,
) -> DeepJSCCTraining:
    """Train until all images are used, the loss stalls or a signal arrives; resume from a
    checkpoint.

    Args:
        config: the run.
        folder: where its checkpoint, logs and sheets go; one that holds a checkpoint goes on.
        fabric: launched; says device, precision and processes.
        report: as `genjscc.training.loop.fit`.
    """
    return loop.fit(DeepJSCCTraining(config, folder, fabric), report)
