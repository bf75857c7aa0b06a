# SPDX-License-Identifier: Apache-2.0
"""Cost model of GPUs: operations and bytes of one image, by scheme and size, not measured.

    python benchmarks/cost_model.py

Networks are run on PyTorch's fake tensors, which have shapes and no numbers. FLOPs are those of
PyTorch's counter (two for a multiply-add; convolutions and matrix products, not element-wise
work). Bytes are counted two ways: `least` reads weights, input and output once and keeps all else
on the chip (images of a batch share `weight`); `most` reads and writes every tensor of every
operation, as eager PyTorch does.

From these follows a bound for a device of a known peak and memory bandwidth: it cannot be quicker
than max(FLOPs / peak, bytes / bandwidth). Device figures are those of data sheets. No GPU was used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common.harness import finish, parser
from genjscc.errors import MissingExtraError
from genjscc.layers.bottleneck import num_symbols
from genjscc.quality.perceptual import PerceptualName
from genjscc.quality.perceptual import perceptual as perceptual_distance
from receiver.deepjscc import Decoder
from receiver.forward import ForwardOperator
from receiver.generative import GenerativeDecoder, LatentDecoder
from receiver.inverse.config import InverseConfig
from receiver.stylegan2.generator import Generator
from transmitter.encoder import Encoder

SIDES = (64, 256, 512)
WIDTHS = {"shipped": 64, "paper": 256}
SYMBOL_CHANNELS = 32
GENERATORS = {64: (256, 256, 192, 96, 32)}
"""Channels of our 64x64 generator; larger sides have those of the published face generators."""
STYLE_DIM = {64: 256}
# Dense 16-bit matrix peak in TFLOP/s and memory bandwidth in GB/s, from the vendor's data sheets.
DEVICES = {"L4": (121.0, 300.0), "A100 40 GB SXM": (312.0, 1555.0), "H100 SXM": (989.0, 3350.0)}


@dataclass(frozen=True)
class Count:
    """Counts for one image."""

    flops: float
    weight_bytes: float
    least_bytes: float
    most_bytes: float

    def plus(self, other: Count, times: float = 1.0) -> Count:
        """Add another count a number of times."""
        return Count(
            self.flops + times * other.flops,
            max(self.weight_bytes, other.weight_bytes),
            self.least_bytes + times * other.least_bytes,
            self.most_bytes + times * other.most_bytes,
        )

    def bound_ms(self, tflops: float, gb_per_s: float, *, fused: bool) -> float:
        """Return the lower bound of a device's time in milliseconds."""
        moved = self.least_bytes if fused else self.most_bytes
        return max(self.flops / (tflops * 1e12), moved / (gb_per_s * 1e9)) * 1e3


class ByteCounter(TorchDispatchMode):
    """Counter of the bytes that operations read and write; views move none."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            leaves = [*tree_leaves((args, kwargs)), *tree_leaves(result)]
            self.total += sum(nbytes(one) for one in leaves if isinstance(one, Tensor))
        return result


def nbytes(tensor: Tensor) -> int:
    """Return the bytes of a tensor's elements."""
    return tensor.numel() * tensor.element_size()


def shapes_only() -> FakeTensorMode:
    """Create tensors without data inside this context; only those from outside are examined."""
    return FakeTensorMode(allow_non_fake_inputs=True)


def count(
    modules: list[nn.Module], run: Callable[[], tuple[list[Tensor], Tensor]], *, bits: int = 16
) -> Count:
    """Count the operations and bytes of a computation.

    Args:
        modules: whose weights it reads.
        run: computes; gives its inputs and its output.
        bits: of the arithmetic; sizes are counted in float32 and scaled.
    """
    flops = FlopCounterMode(display=False)
    moved = ByteCounter()
    with flops, moved:
        inputs, output = run()
    weights = sum(nbytes(p) for module in modules for p in module.parameters())
    least = weights + nbytes(output) + sum(nbytes(one) for one in inputs)
    scale = bits / 32
    return Count(flops.get_total_flops(), weights * scale, least * scale, moved.total * scale)


def encoder_cost(width: int, side: int) -> Count:
    """Count one image of the encoder f, without the power normalisation, which has no weights."""
    with shapes_only():
        encoder = Encoder(width, SYMBOL_CHANNELS).eval()
        image, snr_db = torch.empty(1, 3, side, side), torch.empty(1)
        with torch.no_grad():
            return count([encoder], lambda: ([image], encoder(image, snr_db)))


def decoder_cost(width: int, side: int) -> Count:
    """Count one image of the decoder g."""
    with shapes_only():
        decoder = Decoder(width, SYMBOL_CHANNELS).eval()
        k = num_symbols(SYMBOL_CHANNELS, (side, side))
        symbols, snr_db = torch.empty(1, k, dtype=torch.complex64), torch.empty(1)
        with torch.no_grad():
            return count([decoder], lambda: ([symbols], decoder(symbols, snr_db, (side, side))))


def make_generator(side: int) -> Generator:
    """Build a generator for images of a side, with the tensors of the context."""
    sides = [4 * 2**i for i in range(side.bit_length() - 2)]
    widths = GENERATORS.get(side) or [min(512, 32768 // one) for one in sides]
    style_dim = STYLE_DIM.get(side, 512)
    return Generator(widths, style_dim).eval().requires_grad_(False)


def generative_cost(width: int, side: int) -> Count:
    """Count GenerativeJSCC's decoder: the trained part and the frozen generator."""
    with shapes_only():
        generator = make_generator(side)
        latents = LatentDecoder(width, SYMBOL_CHANNELS, size=side, style_dim=generator.style_dim)
        decoder = GenerativeDecoder(latents, generator).eval()
        k = num_symbols(SYMBOL_CHANNELS, (side, side))
        symbols, snr_db = torch.empty(1, k, dtype=torch.complex64), torch.empty(1)
        with torch.no_grad():
            return count([decoder], lambda: ([symbols], decoder(symbols, snr_db, (side, side))))


def inversion_step_cost(width: int, side: int, perceptual: PerceptualName) -> Count:
    """Count one step of InverseJSCC: G, A and the distance, forward and back to latents and noise
    maps.
    """
    distance = perceptual_distance(perceptual)
    with shapes_only():
        generator = make_generator(side)
        encoder, decoder = Encoder(width, SYMBOL_CHANNELS), Decoder(width, SYMBOL_CHANNELS)
        forward = ForwardOperator(encoder, decoder).eval().requires_grad_(False)
        latents = torch.empty(1, generator.num_ws, generator.style_dim, requires_grad=True)
        maps = [torch.empty(1, 1, n, n, requires_grad=True) for n in generator.noise_sizes]
        target = torch.empty(1, 3, side, side)
        snr_db = torch.empty(1)

        def run() -> tuple[list[Tensor], Tensor]:
            blocks = generator.run_blocks(latents, maps, start=0, stop=generator.num_blocks)
            image = (blocks.rgb + 1) / 2
            # A without its noise and power, which have no weights and are complex-valued.
            z = forward.encoder(image, snr_db)
            reproduced = forward.decoder(z, snr_db, (side, side))
            loss = (reproduced - target).square().mean()
            for one in (reproduced, image):
                features = distance.features(one)
                loss = loss + distance.distance(features, [x.detach() for x in features]).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return [latents, *maps, target], image.detach()

        return count([generator, forward, distance], run)


def schemes(width: int, side: int) -> dict[str, Count]:
    """Return the costs of the transmitter, and of the receiver by scheme."""
    config = InverseConfig()
    found = {
        "encoder f": encoder_cost(width, side),
        "DeepJSCC decoder g": decoder_cost(width, side),
        "GenerativeJSCC decoder": generative_cost(width, side),
    }
    try:
        step = inversion_step_cost(width, side, config.perceptual)
    except MissingExtraError:
        return found
    found["InverseJSCC, one step"] = step
    steps = sum(config.steps)
    found[f"InverseJSCC, {steps} steps"] = found["DeepJSCC decoder g"].plus(step, steps)
    return found


def main() -> int:
    arguments = parser("operations of an image; a model", "bench_cost_model.json").parse_args()
    rows = []
    for name, width in WIDTHS.items():
        for side in SIDES[:1] if arguments.short else SIDES:
            for scheme, cost in schemes(width, side).items():
                bounds = {
                    device: {
                        "fused": cost.bound_ms(*figures, fused=True),
                        "eager": cost.bound_ms(*figures, fused=False),
                    }
                    for device, figures in DEVICES.items()
                }
                row = {"network": name, "width": width, "side": side, "scheme": scheme}
                rows.append(row | asdict(cost) | {"bound_ms": bounds})
                print(f"{name} {side:4d} {scheme:24s} {cost.flops / 1e9:10.3f} GFLOP", flush=True)
    return finish(
        arguments.output,
        short=arguments.short,
        criteria=[],
        what="a model from operation counts: nothing was measured, on no GPU",
        bits=16,
        symbol_channels=SYMBOL_CHANNELS,
        devices={
            name: {"peak_tflops": peak, "gb_per_s": bandwidth}
            for name, (peak, bandwidth) in DEVICES.items()
        },
        rows=rows,
    )


if __name__ == "__main__":
    sys.exit(main())
