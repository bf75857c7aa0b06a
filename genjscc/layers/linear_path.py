# SPDX-License-Identifier: Apache-2.0
"""A linear code beside a network: the sum of both, in which the network starts at zero.

The encoder's linear path is a convolution of the image's 16x16 patches, the decoder's is its
transpose; an AF module allots the power among the components. Begun as a Karhunen-Loève transform
it is a complete, if simple, image code, so that the network only has to learn the difference.
The paper's networks have no such path.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genjscc.layers.af import AFModule
from genjscc.layers.bottleneck import STRIDE
from genjscc.layers.sequence import ConditionedSequence


def linear_analysis(channels: int, num_conditions: int, *, af: bool) -> ConditionedSequence:
    """Build the encoder's path. Shapes: [B, 3, H, W] -> [B, channels, H/16, W/16]."""
    transform = nn.Conv2d(3, channels, STRIDE, stride=STRIDE)
    return ConditionedSequence([transform, AFModule(channels, num_conditions)], af=af)


def linear_synthesis(channels: int, num_conditions: int, *, af: bool) -> ConditionedSequence:
    """Build the decoder's path. Shapes: [B, channels, H/16, W/16] -> [B, 3, H, W]."""
    transform = nn.ConvTranspose2d(channels, 3, STRIDE, stride=STRIDE)
    return ConditionedSequence([AFModule(channels, num_conditions), transform], af=af)


class BesideLinearPath(nn.Module):
    """linear(x) + gate * network(x), with one gate a channel that starts at zero (ReZero).

    A decoder's linear path passes on the noise of every component. Its input may therefore be
    mixed with the output of the network's first blocks, which work at the same resolution and
    learn to remove noise; the mixture starts without them.

    Args:
        network: any network.
        linear: a path with inputs and outputs of the same shapes.
        channels: of the outputs.
        shared: number of the network's first blocks that the linear path may use; their output
            has the shape of the input.
        inputs: channels of the input, if blocks are shared.
    """

    def __init__(
        self,
        network: ConditionedSequence,
        linear: ConditionedSequence,
        channels: int,
        *,
        shared: int = 0,
        inputs: int = 0,
    ) -> None:
        super().__init__()
        self.network = network
        self.linear = linear
        self.shared = shared
        self.gate = nn.Parameter(torch.zeros(channels, 1, 1))
        self.mix = nn.Parameter(torch.zeros(inputs, 1, 1)) if shared else None
        self.linear_alone = False
        """leaves the network out, while the path is trained by itself"""

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        if self.linear_alone:
            alone: Tensor = self.linear(x, condition)
            return alone
        first = self.network(x, condition, 0, self.shared)
        mixed = x if self.mix is None else x + self.mix * (first - x)
        y: Tensor = self.linear(mixed, condition)
        difference: Tensor = self.network(first, condition, self.shared)
        return y + self.gate * difference


@torch.no_grad()
def start_as_transform(
    analysis: ConditionedSequence,
    synthesis: ConditionedSequence,
    *,
    mean: Tensor,
    components: Tensor,
    variances: Tensor,
    fewest: int,
) -> None:
    """Make both paths a Karhunen-Loève transform with the allocation for high SNRs.

    Component i gets power in proportion to the square root of its variance v_i, which minimises
    the squared error when all components are received well. A codeword then has the power that
    `channel.physics.normalize_power` gives it when the fewest channels are sent.

    Args:
        analysis: path of `linear_analysis`.
        synthesis: path of `linear_synthesis`.
        mean: [768], mean patch.
        components: [C, 768], orthonormal rows.
        variances: [C], of the components' coefficients.
        fewest: channels of the lowest bandwidth ratio.
    """
    roots = variances.clamp(min=1e-10).sqrt()
    # Two reals make a symbol of power 1, so `fewest` channels have the power fewest / 2.
    scale = (fewest / 2 / roots[:fewest].sum()).sqrt() / roots.sqrt()
    filters = components.reshape(len(components), 3, STRIDE, STRIDE)
    forward, backward = analysis[0], synthesis[1]
    if not isinstance(forward, nn.Conv2d) or not isinstance(backward, nn.ConvTranspose2d):
        raise TypeError("not the two linear paths")
    if forward.bias is None or backward.bias is None:
        raise TypeError("the linear paths have biases")
    forward.weight.copy_(filters * scale[:, None, None, None])
    forward.bias.copy_(-(components @ mean) * scale)
    backward.weight.copy_(filters / scale[:, None, None, None])
    # A transposed convolution has one bias a channel, not one a pixel: the mean colour.
    backward.bias.copy_(mean.reshape(3, -1).mean(1))
