# SPDX-License-Identifier: Apache-2.0
"""Blocks of the paper's networks (Fig. 4), shared by the encoder and both decoders."""

from genjscc.layers.af import AFModule
from genjscc.layers.attention import AttentionBlock
from genjscc.layers.gdn import GDN
from genjscc.layers.residual import ResidualBlock, ResidualBlockUpsample, ResidualBlockWithStride
from genjscc.layers.sequence import ConditionedSequence

__all__ = [
    "GDN",
    "AFModule",
    "AttentionBlock",
    "ConditionedSequence",
    "ResidualBlock",
    "ResidualBlockUpsample",
    "ResidualBlockWithStride",
]
