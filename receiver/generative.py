# SPDX-License-Identifier: Apache-2.0
"""The GenerativeJSCC decoder of Fig. 5: residual blocks around a frozen StyleGAN2 generator.

z_hat - Attn - 1x1 - RB - RBU - AF - RB - RBU - AF - Attn - RB - RBU - AF - RB - RBU - AF
                     |         |     |         |            |         |     |         |
block                1         2     3         4            5         6     7         8
side             S/16       S/8   S/8       S/4          S/4       S/2   S/2         S

The features after each block b have three uses:

    P_l,b  global mean, then 1x1 to style_dim/8 values: a part of the initial latent (variants
           average over a grid of cells, which preserves the features' position in the image, and
           have larger parts)
    P_n,b  1x1 to one channel: a noise map, in units of the generator's features (its noise inputs
           are scaled by learned strengths, which may be small: a map is divided by its input's)
    next   input of the next block

The eight parts are concatenated and mapped by an MLP to the latent L, one w for all layers of G (or
W+, one for each); x_hat = G(L, N).

Assignment of blocks to noise inputs: a generator of S x S pixels, S >= 64 a power of two, has
2n - 1 noise inputs 0, 1, ... of sides 4, 8, 8, 16, 16, ..., S, S, with n = log2(S) - 1 blocks of
its own. The sides after the eight blocks above are a contiguous part of that list: block b feeds
the input 2n - 11 + b. The others keep the generator's fixed buffers: the last one always, and the
inputs below S/16 if S is more than 64.

    S = 64    inputs 0..7 from blocks 1..8 (sides 4, 8, 8, 16, 16, 32, 32, 64), 8 fixed
    S = 512   inputs 6..13 from blocks 1..8 (32, 64, 64, 128, 128, 256, 256, 512), 0..5, 14 fixed
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genjscc.layers import (
    AFModule,
    AttentionBlock,
    ConditionedSequence,
    ResidualBlock,
    ResidualBlockUpsample,
)
from genjscc.layers.bottleneck import bottleneck_from_symbols
from genjscc.layers.condition import condition, num_conditions
from receiver.stylegan2.generator import Generator, latent_spread

LatentSpace = Literal["w", "w+"]
NUM_BLOCKS = 8
LATENT_GRIDS = (1, 2, 4)
_SMALLEST = 64
_SLOPE = 0.2
_START = 0.25
_WEAKEST = 1e-4


def fed_noise_inputs(size: int) -> range:
    """Return the generator's noise inputs that blocks 1 to 8 feed, in this order.

    Raises:
        ValueError: the size is not a power of two of at least 64.
    """
    if size < _SMALLEST or size & (size - 1):
        raise ValueError(f"size: got {size}; must be a power of two from {_SMALLEST}")
    last = 2 * (size.bit_length() - 2) - 3
    return range(last - NUM_BLOCKS + 1, last + 1)


class LatentDecoder(nn.Module):
    """The trained part of the decoder: received symbols and SNR to the generator's inputs.

    Args:
        width: c, channels of the blocks.
        symbol_channels: C_out, as in `transmitter.encoder.Encoder`.
        channel_steps: as in `transmitter.encoder.Encoder`.
        size: side of the generator's images, a power of two of at least 64.
        style_dim: size of the generator's w; a multiple of 8.
        latent: w, as in the paper, or w+, one style for each layer.
        latent_layers: number of linear layers from the initial latent to L.
        latent_grid: rows and columns to which features are averaged before P_l: 1 (the paper's
            global mean), 2 or 4.
        latent_part: output size of each P_l; 0: style_dim / 8, as in the paper.
        noise: False leaves the P_n out: the noise maps are zero, as in the first stage of
            training.
        af: False leaves the AF modules out.
    """

    latent_mean: Tensor
    latent_spread: Tensor

    def __init__(
        self,
        width: int,
        symbol_channels: int,
        channel_steps: tuple[int, ...] = (),
        *,
        size: int,
        style_dim: int,
        latent: LatentSpace = "w",
        latent_layers: int = 4,
        latent_grid: int = 1,
        latent_part: int = 0,
        noise: bool = True,
        af: bool = True,
    ) -> None:
        super().__init__()
        if style_dim % NUM_BLOCKS:
            raise ValueError(f"style_dim: got {style_dim}; must be a multiple of 8")
        if latent not in get_args(LatentSpace):
            raise ValueError(f"latent: got {latent!r}; must be w or w+")
        if latent_grid not in LATENT_GRIDS:
            raise ValueError(f"latent_grid: got {latent_grid}; must be one of {LATENT_GRIDS}")
        self.fed = fed_noise_inputs(size)
        self.size, self.style_dim = size, style_dim
        self.latent, self.latent_grid = latent, latent_grid
        self.symbol_channels = symbol_channels
        self.channel_steps = channel_steps
        num_blocks = size.bit_length() - 2
        self.num_noise_inputs, self.num_ws = 2 * num_blocks - 1, 2 * num_blocks
        c, n = width, num_conditions(channel_steps)

        # With few sent channels, the first block would have few features for its heads.
        self.lift = nn.Sequential(AttentionBlock(symbol_channels), nn.Conv2d(symbol_channels, c, 1))
        chains: list[list[nn.Module]] = []
        for stage in range(NUM_BLOCKS // 2):
            attention = [AttentionBlock(c)] if stage == 2 else []
            chains.append([*attention, ResidualBlock(c, c)])
            chains.append([ResidualBlockUpsample(c, c), AFModule(c, n)])
        self.blocks = nn.ModuleList(ConditionedSequence(chain, af=af) for chain in chains)
        part = latent_part or style_dim // NUM_BLOCKS
        pooled = c * latent_grid**2
        self.to_latent = nn.ModuleList(nn.Linear(pooled, part) for _ in range(NUM_BLOCKS))
        self.to_noise = nn.ModuleList(nn.Conv2d(c, 1, 1) for _ in range(NUM_BLOCKS if noise else 0))
        for head in self.to_noise.parameters():
            nn.init.zeros_(head)

        outputs = style_dim if latent == "w" else style_dim * self.num_ws
        widths = [part * NUM_BLOCKS, *[style_dim] * (latent_layers - 1), outputs]
        linear = [nn.Linear(before, after) for before, after in pairwise(widths)]
        hidden = [part for layer in linear[:-1] for part in (layer, nn.LeakyReLU(_SLOPE))]
        self.latent_mlp = nn.Sequential(*hidden, linear[-1])
        # PyTorch's default would shrink the signal by about 2 with each layer, and the variation
        # of global means between images is small to begin with.
        for layer in (*self.to_latent, *linear):
            nn.init.kaiming_normal_(layer.weight, _SLOPE, nonlinearity="leaky_relu")
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            linear[-1].weight.mul_(_START)
        self.register_buffer("latent_mean", torch.zeros(style_dim))
        self.register_buffer("latent_spread", torch.ones(style_dim))

    @torch.no_grad()
    def start_at_mean(self, generator: Generator) -> None:
        """Initialise the network to faces close to the generator's average face.

        L is the mean of w plus its standard deviation, axis by axis, times the output of the MLP,
        which is small at first. The axes of w differ in spread by an order of magnitude and are
        off zero by several deviations: otherwise the first images would be far outside the range
        that G was trained on, and one learning rate would not fit all axes.
        """
        self.latent_mean.copy_(generator.latent_avg)
        self.latent_spread.copy_(latent_spread(generator))

    def forward(self, symbols: Tensor, snr_db: Tensor) -> tuple[Tensor, list[Tensor | None]]:
        """Compute the inputs of the generator.

        Args:
            symbols: complex64 [B, k].
            snr_db: [B], the SNR in dB that the decoder assumes.

        Returns:
            L: float32 [B, style_dim], or [B, num_ws, style_dim] for w+.
            N: for each noise input [B, 1, r, r] (or [1, 1, r, r] of zeros) in units of the
            features that it is added to, or None for those that keep the generator's fixed buffer.
        """
        size = (self.size, self.size)
        bottleneck, channels = bottleneck_from_symbols(symbols, self.symbol_channels, size)
        conditions = condition(snr_db, channels, self.channel_steps)
        x = self.lift(bottleneck)
        parts: list[Tensor] = []
        noise: list[Tensor | None] = [None] * self.num_noise_inputs
        for i, block in enumerate(self.blocks):
            x = block(x, conditions)
            pooled = F.adaptive_avg_pool2d(x, self.latent_grid).flatten(1)
            parts.append(self.to_latent[i](pooled))
            noise[self.fed[i]] = (
                self.to_noise[i](x) if len(self.to_noise) else x.new_zeros(1, 1, *x.shape[2:])
            )
        steps: Tensor = self.latent_mlp(torch.cat(parts, dim=1)).float()
        if self.latent == "w+":
            steps = steps.reshape(-1, self.num_ws, self.style_dim)
        return self.latent_mean + self.latent_spread * steps, noise


class GenerativeDecoder(nn.Module):
    """The decoder g: received symbols and SNR to images, through a frozen, shareable generator.

    Args:
        latents: the trained part.
        generator: G; its parameters are frozen here.

    Raises:
        ValueError: the sizes of the two differ.
    """

    def __init__(self, latents: LatentDecoder, generator: Generator) -> None:
        super().__init__()
        for field in ("size", "style_dim"):
            wanted, found = getattr(latents, field), getattr(generator, field)
            if wanted != found:
                raise ValueError(f"{field}: the generator has {found}, the decoder {wanted}")
        self.latents = latents
        self.generator = generator.requires_grad_(False)

    def forward(self, symbols: Tensor, snr_db: Tensor, size: tuple[int, int]) -> Tensor:
        """Decode received symbols to x_hat.

        Args:
            symbols: complex64 [B, k].
            snr_db: [B], the SNR in dB that the decoder assumes.
            size: height and width of the (padded) images: the generator's.

        Returns:
            float [B, 3, S, S] in [0, 1]; not clamped in training mode, in which a clamped pixel
            would get no gradient.

        Raises:
            ValueError: the size is not the generator's.
        """
        side = self.latents.size
        if size != (side, side):
            raise ValueError(f"size: got {size}; the generator makes {side}x{side} pixels")
        ws, maps = self.latents(symbols, snr_db)
        strengths = self.generator.noise_strengths()
        # A strength near zero suppresses any map.
        units = torch.where(strengths.abs() > _WEAKEST, 1 / strengths, 1.0)
        noise = [
            None if given is None else given * unit for given, unit in zip(maps, units, strict=True)
        ]
        x_hat: Tensor = (self.generator.synthesis(ws, noise) + 1) / 2
        return x_hat if self.training else x_hat.clamp(0, 1)
