# SPDX-License-Identifier: Apache-2.0
"""StyleGAN2's generator G (Karras et al., CVPR 2020, arXiv:1912.04958) in plain PyTorch.

    z ─ mapping ─ w ┬───────────┬───────────┬─── ... ──┐
                    ▼           ▼           ▼          ▼
    constant ─► block 4x4 ─► block 8x8 ─► 16x16 ─ ... SxS      feature maps
                    │           │           │          │
                    ▼           ▼           ▼          ▼
                   rgb ─ up ─► (+) ─ up ─► (+) ─ ... (+) ─► image

A block is one (4x4) or two modulated 3x3 convolutions, each with one noise input, and a 1x1
convolution to RGB. Weight modulation is computed in three steps: scale the input channels by the
style, convolve with shared weights, scale the output channels by the demodulation. This equals
modulating the weights of each image, without grouped convolutions.

Parameters and buffers have the names of rosinality/stylegan2-pytorch, so that its `g_ema` loads
unchanged. Everything is batched, differentiable and free of custom kernels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genjscc.errors import BundleError, InvalidInputError
from receiver.stylegan2.names import GeneratorSizes, canonical_names, infer_sizes

_GAIN = math.sqrt(2)
_SLOPE = 0.2
_EPSILON = 1e-8
# Learning-rate multiplier of the mapping: its stored weights are 100 times the effective ones.
_MAPPING_RATE = 0.01
_MEAN_LATENT_DRAWS = 4096
_SPREAD_DRAWS = 4096

Noise = Sequence[Tensor | None]
"""one entry per noise input: a map [B, 1, r, r] or [1, 1, r, r], or None for the fixed buffer"""


class SynthesisState(NamedTuple):
    """State passed from one block (or stage) to the next."""

    features: Tensor
    """features [B, C, r, r] in the dtype of the activations"""
    rgb: Tensor
    """image so far, before the next upsampling, float32 [B, 3, r, r]"""


class PixelNorm(nn.Module):
    """Division of each row by its root mean square. Shapes: [B, N] -> [B, N]."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + _EPSILON)


class EqualLinear(nn.Module):
    """A linear layer with equalised learning rate. Shapes: [B, I] -> [B, O]."""

    def __init__(
        self, inputs: int, outputs: int, *, bias: float = 0.0, rate: float = 1.0, activate: bool
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.scale, self.rate, self.activate = rate / math.sqrt(inputs), rate, activate

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight * self.scale, self.bias * self.rate)
        return F.leaky_relu(y, _SLOPE) * _GAIN if self.activate else y


class ModulatedConv(nn.Module):
    """Weights and style layer of a modulated convolution, the base of the two below."""

    def __init__(self, inputs: int, outputs: int, kernel: int, style_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, outputs, inputs, kernel, kernel))
        self.modulation = EqualLinear(style_dim, inputs, bias=1.0, activate=False)
        self.scale = 1 / math.sqrt(inputs * kernel * kernel)

    def styles_and_weight(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Map w [B, style_dim] to styles [B, I] and shared weight [O, I, K, K]; float32."""
        return self.modulation(w), self.weight[0] * self.scale


class NoiseStrength(nn.Module):
    """The learned scale of a noise input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class ActivationBias(nn.Module):
    """The bias before an activation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU. [B, I, r, r] -> [B, O, r or 2r, ...]."""

    kernel: Tensor

    def __init__(self, inputs: int, outputs: int, style_dim: int, *, upsample: bool) -> None:
        super().__init__()
        self.conv = ModulatedConv(inputs, outputs, 3, style_dim)
        self.noise = NoiseStrength()
        self.activate = ActivationBias(outputs)
        self.upsample = upsample
        if upsample:
            taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
            kernel = (taps[:, None] * taps).expand(outputs, 1, 4, 4).contiguous()
            self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        styles, weight = self.conv.styles_and_weight(w)
        energy = weight.square().sum((2, 3))  # [O, I]
        demodulation = torch.rsqrt(styles.square() @ energy.t() + _EPSILON)  # [B, O]
        x, weight = x * styles.to(x.dtype)[:, :, None, None], weight.to(x.dtype)
        if self.upsample:
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            kernel = self.kernel.to(x.dtype)
            x = F.conv2d(x, kernel, padding=1, groups=len(kernel))
        else:
            x = F.conv2d(x, weight, padding=1)
        # The activation's gain is folded into its input, because leaky ReLU is homogeneous.
        gain = (demodulation * _GAIN).to(x.dtype)[:, :, None, None]
        bias = (self.activate.bias * _GAIN).to(x.dtype)[None, :, None, None]
        added = (self.noise.weight * _GAIN * noise).to(x.dtype)
        return F.leaky_relu(torch.addcmul(bias, x, gain) + added, _SLOPE)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to RGB, added to the upsampled image so far."""

    def __init__(self, inputs: int, style_dim: int) -> None:
        super().__init__()
        self.conv = ModulatedConv(inputs, 3, 1, style_dim)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, w: Tensor, rgb: Tensor | None) -> Tensor:
        """Shapes: x [B, I, r, r], w [B, style_dim], rgb [B, 3, r/2, r/2] -> [B, 3, r, r]."""
        styles, weight = self.conv.styles_and_weight(w)
        # With three output channels, weights per image are cheaper than scaling the input.
        modulated = (weight[None, :, :, 0, 0] * styles[:, None]).to(x.dtype)  # [B, 3, I]
        batch, _, height, width = x.shape
        pixels = x.permute(0, 2, 3, 1).reshape(batch, height * width, -1)
        colours = torch.bmm(pixels, modulated.transpose(1, 2)).float()
        y = colours.reshape(batch, height, width, 3).permute(0, 3, 1, 2) + self.bias
        return y if rgb is None else y + upsample_rgb(rgb)


def upsample_rgb(rgb: Tensor) -> Tensor:
    """Upsample by 2 with the filter [1, 3, 3, 1]. Shapes: [B, 3, r, r] -> [B, 3, 2r, 2r].

    Away from the border this filter is bilinear interpolation; StyleGAN2 pads the image with
    zeros, hence the frame.
    """
    framed = F.pad(rgb, (1, 1, 1, 1))
    y = F.interpolate(framed, scale_factor=2, mode="bilinear", align_corners=False)
    return y[..., 2:-2, 2:-2]


class ConstantInput(nn.Module):
    """The learned 4x4 feature map that every image starts from."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channels, 4, 4))


class Generator(nn.Module):
    """G: latent and noise maps -> image in [-1, 1] (not clamped).

    Args:
        widths: channels at 4, 8, 16, ... pixels; the image's side is 4 * 2**(len(widths) - 1).
        style_dim: size of z and w.
        mapping_layers: layers of the mapping.

    The four stages G1..G4 of eq. 14 of the paper are runs of blocks (`run_blocks`): each takes the
    `SynthesisState` of the stage before; their composition is `synthesis`.
    """

    latent_avg: Tensor

    def __init__(
        self, widths: Sequence[int], style_dim: int = 512, mapping_layers: int = 8
    ) -> None:
        super().__init__()
        self.sizes = GeneratorSizes(tuple(widths), style_dim, mapping_layers)
        self.style_dim = style_dim
        self.size = 4 * 2 ** (len(widths) - 1)
        self.num_blocks = len(widths)
        self.num_ws = 2 * len(widths)
        self.noise_sizes = tuple(2 ** ((i + 5) // 2) for i in range(2 * len(widths) - 1))

        layers = [
            EqualLinear(style_dim, style_dim, rate=_MAPPING_RATE, activate=True)
            for _ in range(mapping_layers)
        ]
        self.style = nn.Sequential(PixelNorm(), *layers)
        self.input = ConstantInput(widths[0])
        self.conv1 = StyledConv(widths[0], widths[0], style_dim, upsample=False)
        self.to_rgb1 = ToRGB(widths[0], style_dim)
        self.convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        for narrower, wider in zip(widths[1:], widths[:-1], strict=True):
            self.convs.append(StyledConv(wider, narrower, style_dim, upsample=True))
            self.convs.append(StyledConv(narrower, narrower, style_dim, upsample=False))
            self.to_rgbs.append(ToRGB(narrower, style_dim))
        self.noises = nn.Module()
        draws = torch.Generator().manual_seed(0)
        for i, side in enumerate(self.noise_sizes):
            fixed = torch.randn(1, 1, side, side, generator=draws)
            self.noises.register_buffer(f"noise_{i}", fixed)
        self.register_buffer("latent_avg", torch.zeros(style_dim))

    @classmethod
    def from_state_dict(
        cls, state_dict: Mapping[str, Tensor], latent_avg: Tensor | None = None
    ) -> Self:
        """Build the generator of a state dict, in evaluation mode, float32.

        Args:
            state_dict: tensors with rosinality's, BasicSR's or our names. If fixed noise maps
                are missing, they are drawn from seed 0.
            latent_avg: the mean w, if it is not among the tensors (None: estimated).

        Raises:
            BundleError: tensors are missing, left over or of the wrong shape.
        """
        tensors = canonical_names(state_dict)
        sizes = infer_sizes(tensors)
        generator = cls(sizes.widths, sizes.style_dim, sizes.mapping_layers)
        if latent_avg is not None:
            tensors["latent_avg"] = latent_avg.reshape(-1)
        own = generator.state_dict()
        missing = {k for k in own.keys() - tensors.keys() if not k.startswith("noises.")}
        estimate = "latent_avg" in missing
        missing.discard("latent_avg")
        wrong = [k for k in own.keys() & tensors.keys() if own[k].shape != tensors[k].shape]
        problems = {
            "missing": sorted(missing),
            "unknown": sorted(tensors.keys() - own.keys()),
            "of another shape": sorted(wrong),
        }
        if any(problems.values()):
            found = "; ".join(f"{what}: {', '.join(k[:5])}" for what, k in problems.items() if k)
            raise BundleError(f"generator of {sizes}: tensors {found}")
        generator.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=False)
        generator.eval()
        if estimate:
            generator.latent_avg.copy_(generator.mean_latent())
        return generator

    @torch.no_grad()
    def mean_latent(self, draws: int = _MEAN_LATENT_DRAWS, seed: int = 0) -> Tensor:
        """Estimate the mean of w over draws of z. Shape: [style_dim]."""
        random = torch.Generator().manual_seed(seed)
        z = torch.randn(draws, self.style_dim, generator=random)
        return self.mapping(z.to(self.latent_avg.device)).mean(0)

    def mapping(self, z: Tensor) -> Tensor:
        """Map standard normal z [B, style_dim] to w [B, style_dim], float32."""
        if z.dim() != 2 or z.shape[1] != self.style_dim:
            raise InvalidInputError("z", f"shape {tuple(z.shape)}, not [B, {self.style_dim}]")
        with torch.autocast(z.device.type, enabled=False):
            w: Tensor = self.style(z.float())
        return w

    def truncate(self, w: Tensor, psi: float) -> Tensor:
        """Move w or ws towards the mean latent: psi = 1 changes nothing, 0 gives the mean."""
        return self.latent_avg + psi * (w - self.latent_avg)

    def random_noise(self, batch: int, generator: torch.Generator | None = None) -> list[Tensor]:
        """Draw standard normal maps on the CPU, one [B, 1, r, r] per noise input."""
        device = self.latent_avg.device
        return [
            torch.randn(batch, 1, r, r, generator=generator).to(device) for r in self.noise_sizes
        ]

    def fixed_noise(self) -> list[Tensor]:
        """Return the fixed noise buffers, [1, 1, r, r] each."""
        return [self.noises.get_buffer(f"noise_{i}") for i in range(len(self.noise_sizes))]

    def noise_strengths(self) -> Tensor:
        """Return the learned factor of each noise input, [noise inputs]."""
        layers = [module for module in self.modules() if isinstance(module, StyledConv)]
        return torch.cat([layer.noise.weight for layer in layers])

    def forward(
        self,
        z: Tensor,
        noise: Noise | None = None,
        *,
        psi: float = 1.0,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Return synthesis(truncate(mapping(z), psi))."""
        return self.synthesis(self.truncate(self.mapping(z), psi), noise, dtype=dtype)

    def synthesis(
        self, ws: Tensor, noise: Noise | None = None, *, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Generate the image of a latent.

        Args:
            ws: W [B, style_dim], one style for all layers, or W+ [B, num_ws, style_dim].
            noise: a map or None for each of `noise_sizes`; None: all fixed buffers.
            dtype: dtype of activations, float32 or bfloat16 (None: autocast's, else float32).

        Returns:
            [B, 3, size, size] float32; trained generators stay close to [-1, 1].

        Raises:
            InvalidInputError: a shape is wrong.
        """
        return self.run_blocks(ws, noise, dtype=dtype).rgb

    def run_blocks(
        self,
        ws: Tensor,
        noise: Noise | None = None,
        *,
        state: SynthesisState | None = None,
        start: int = 0,
        stop: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> SynthesisState:
        """Run blocks start to stop (None: all) from the state before them (None if start is 0).

        Block 0 is the 4x4 one; `ws`, `noise` and `dtype` are those of `synthesis`, of which blocks
        read only their own entries. Intermediate-layer optimisation varies `state`.
        """
        ws = self.broadcast(ws)
        maps = self._noise_maps(noise)
        if (state is None) != (start == 0):
            raise InvalidInputError("state", "must be given for every block but the first")
        dtype = _activation_dtype(ws.device.type) if dtype is None else dtype
        with torch.autocast(ws.device.type, enabled=False):
            ws = ws.float()
            for block in range(start, self.num_blocks if stop is None else stop):
                state = self._block(block, state, ws, maps, dtype)
        if state is None:
            raise InvalidInputError("stop", "must be greater than start")
        return state

    def _block(
        self,
        index: int,
        state: SynthesisState | None,
        ws: Tensor,
        noise: list[Tensor],
        dtype: torch.dtype,
    ) -> SynthesisState:
        """Run one block. Block i > 0 reads ws 2i-1, 2i, 2i+1 and the noise inputs 2i-1, 2i."""
        if state is None:
            constant = self.input.input.expand(len(ws), -1, -1, -1).to(dtype)
            x = constant.contiguous(memory_format=torch.channels_last)
            x = self.conv1(x, ws[:, 0], noise[0])
            return SynthesisState(x, self.to_rgb1(x, ws[:, 1], None))
        first = 2 * index - 1
        x = self.convs[first - 1](state.features.to(dtype), ws[:, first], noise[first])
        x = self.convs[first](x, ws[:, first + 1], noise[first + 1])
        return SynthesisState(x, self.to_rgbs[index - 1](x, ws[:, first + 2], state.rgb))

    def broadcast(self, ws: Tensor) -> Tensor:
        """Expand W [B, style_dim] to W+ [B, num_ws, style_dim]; return W+ unchanged."""
        if ws.dim() == 2:
            ws = ws[:, None].expand(-1, self.num_ws, -1)
        if ws.dim() != 3 or ws.shape[1:] != (self.num_ws, self.style_dim):
            expected = f"[B, {self.style_dim}] or [B, {self.num_ws}, {self.style_dim}]"
            raise InvalidInputError("ws", f"shape {tuple(ws.shape)}, not {expected}")
        return ws

    def _noise_maps(self, noise: Noise | None) -> list[Tensor]:
        fixed = self.fixed_noise()
        if noise is None:
            return fixed
        if len(noise) != len(fixed):
            raise InvalidInputError("noise", f"{len(noise)} maps for {len(fixed)} inputs")
        maps = [
            default if given is None else given for given, default in zip(noise, fixed, strict=True)
        ]
        for i, (given, default) in enumerate(zip(maps, fixed, strict=True)):
            if given.dim() != 4 or given.shape[1:] != default.shape[1:]:
                expected = f"[B, {', '.join(map(str, default.shape[1:]))}]"
                raise InvalidInputError(
                    "noise", f"map {i}: shape {tuple(given.shape)}, not {expected}"
                )
        return maps


@torch.no_grad()
def latent_spread(generator: Generator) -> Tensor:
    """Estimate the standard deviation of each axis of w. -> [style_dim]."""
    draws = torch.Generator().manual_seed(0)
    z = torch.randn(_SPREAD_DRAWS, generator.style_dim, generator=draws)
    return generator.mapping(z.to(generator.latent_avg.device)).std(0).clamp(min=1e-6)


def _activation_dtype(device: str) -> torch.dtype:
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return torch.float32
