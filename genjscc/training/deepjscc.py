# SPDX-License-Identifier: Apache-2.0
"""Training of a DeepJSCC pair (Sections IV-A and V-B of the paper)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn

from genjscc.bundles.config import BundleConfig
from genjscc.bundles.store import read_config
from genjscc.evaluation.linear import fit_linear, tiles_of
from genjscc.layers.bottleneck import STRIDE
from genjscc.layers.linear_path import BesideLinearPath, start_as_transform
from genjscc.layers.sequence import ConditionedSequence
from genjscc.layers.stages import stage_widths
from genjscc.training import loop
from genjscc.training.config import DeepJSCCConfig
from genjscc.training.data import ImageFolder
from genjscc.training.loop import PairTraining, Stage, refuse_other_sizes
from receiver.deepjscc import Decoder
from receiver.forward import ForwardOperator
from receiver.models import load_deepjscc
from transmitter.encoder import Encoder

# Training squares that the transform is fitted to: tens of thousands of patches.
_KLT_IMAGES = 600


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


def _beside_linear(pair: nn.Module) -> list[BesideLinearPath]:
    return [module for module in pair.modules() if isinstance(module, BesideLinearPath)]


def _linear_paths(pair: nn.Module) -> list[ConditionedSequence]:
    return [module.linear for module in _beside_linear(pair)]


class DeepJSCCTraining(PairTraining[DeepJSCCConfig]):
    """A run that trains all weights, after an optional first stage for the linear path."""

    scheme = "deepjscc"

    def build(self) -> ForwardOperator:
        return build_pair(self.config).to(memory_format=torch.channels_last)

    def start(self, pair: nn.Module) -> None:
        if self.config.linear_path and isinstance(pair, ForwardOperator):
            fit_linear_path(pair, self.config)

    def groups(self, pair: nn.Module) -> Sequence[Sequence[nn.Parameter]]:
        """Return the parameters of the linear path, if there is one, and all others."""
        linear = [p for path in _linear_paths(pair) for p in path.parameters()]
        if not linear:
            return super().groups(pair)
        known = {id(parameter) for parameter in linear}
        return [linear, [p for p in pair.parameters() if id(p) not in known]]

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
