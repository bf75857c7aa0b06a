# SPDX-License-Identifier: Apache-2.0
"""Training of a DeepJSCC pair (Sections IV-A and V-B of the paper)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn

from genjscc.bundles.config import BundleConfig
from genjscc.training import loop
from genjscc.training.config import DeepJSCCConfig
from genjscc.training.loop import PairTraining, Stage
from receiver.deepjscc import Decoder
from receiver.forward import ForwardOperator
from receiver.models import load_deepjscc
from transmitter.encoder import Encoder


def build_pair(config: DeepJSCCConfig) -> ForwardOperator:
    """The untrained encoder and decoder of a run, from its seed."""
    torch.manual_seed(config.seed)
    sizes = (config.width, config.symbol_channels, config.channel_steps)
    return ForwardOperator(Encoder(*sizes, af=config.af), Decoder(*sizes, af=config.af))


class DeepJSCCTraining(PairTraining[DeepJSCCConfig]):
    """A run in one stage, in which everything learns."""

    scheme = "deepjscc"

    def build(self) -> ForwardOperator:
        return build_pair(self.config).to(memory_format=torch.channels_last)

    def load_initial_decoder(self, pair: nn.Module, root: Path, declared: BundleConfig) -> None:
        self.take_over(pair.get_submodule("decoder"), load_deepjscc(root, declared), declared)

    def plan(self) -> Sequence[Stage]:
        return [Stage(self.config.images, (1.0,))]


def fit(
    config: DeepJSCCConfig,
    folder: Path,
    fabric: Fabric,
    report: Callable[[DeepJSCCTraining, dict[str, float]], None] = lambda _t, _v: None,
) -> DeepJSCCTraining:
    """Trains until the images are used up, the loss stalls or a signal comes; resumes by itself.

    Args:
        config: the run.
        folder: where its checkpoint, logs and sheets go; one that holds a checkpoint goes on.
        fabric: launched; says device, precision and processes.
        report: as `genjscc.training.loop.fit`.
    """
    return loop.fit(DeepJSCCTraining(config, folder, fabric), report)
