# SPDX-License-Identifier: Apache-2.0
"""A linear path parallel to a network: the sum of both, in which the network starts at zero.

The encoder's linear path is a convolution of the image's 16x16 patches, the decoder's is its
transpose; an AF module allocates the power among the components. Initialised as a Karhunen-Loève
transform it is a complete, if simple, image code, and the network only has to learn the residual.
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
    """The sum of a linear path and a network: linear(x) + network(x).

    A decoder's linear path passes on the noise of every component. It may therefore follow the
    network's first blocks, which work at the same resolution and learn to remove noise.

    Args:
        network: any network whose output starts at zero.
        linear: a path with inputs and outputs of the same shapes.
        shared: number of the network's first blocks that the linear path follows; they start close
            to the identity.
    """

    def __init__(
        self, network: ConditionedSequence, linear: ConditionedSequence, *, shared: int = 0
    ) -> None:
        super().__init__()
        self.network = network
        self.linear = linear
        self.shared = shared
        self.linear_alone = False
        """whether the network is left out, while the linear path is trained by itself"""

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        if self.linear_alone:
            alone: Tensor = self.linear(x, condition)
            return alone
        first = self.network(x, condition, 0, self.shared)
        y: Tensor = self.linear(first, condition)
        residual: Tensor = self.network(first, condition, self.shared)
        return y + residual


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
