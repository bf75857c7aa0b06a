# SPDX-License-Identifier: Apache-2.0
"""DeepJSCC pairs as two ONNX files, for devices without PyTorch.

    encoder.onnx   image [B, 3, H, W] in [0, 1], snr_db [B]  ->  symbols [B, C, H/16, W/16]
    decoder.onnx   symbols, snr_db                           ->  image

Batch and size are dynamic; H and W are multiples of 16. `symbols` are float32 of power 1 per
complex symbol: flattened, two neighbouring reals are one symbol (I, Q), in the order of the
protocol. One pair of files sends one bandwidth ratio.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from genjscc.bundles.config import BundleConfig
from genjscc.bundles.store import read_config
from genjscc.errors import BundleError, InvalidInputError, ModelNotFoundError, needs
from genjscc.layers.bottleneck import STRIDE, bottleneck_from_symbols, symbols_from_bottleneck
from genjscc.layers.condition import condition
from genjscc.wire.ratios import format_ratio
from receiver.deepjscc import Decoder
from receiver.models import load_deepjscc
from transmitter.encoder import Encoder, encode
from transmitter.models import load_encoder

ENCODER, DECODER = "encoder.onnx", "decoder.onnx"
TOLERANCE = 1e-4
"""largest difference from PyTorch, in symbols of power 1 and in images in [0, 1]"""
_LARGEST_SIDE, _LARGEST_BATCH = 8192 // STRIDE, 1024
_RUNS = 5


@dataclass(frozen=True)
class OnnxCheck:
    """Comparison of one ONNX file with PyTorch, and its speed.

    Attributes:
        file: the ONNX file.
        megabytes: its size in 10^6 bytes.
        largest_difference: from PyTorch's output, over all checked sizes.
        seconds: median time for one image of `size` on one core.
        size: width and height of that image.
    """

    file: Path
    megabytes: float
    largest_difference: float
    seconds: float
    size: tuple[int, int]


class _OnnxEncoder(nn.Module):
    """The encoder at one ratio, with power normalisation (eq. 3) on real symbols."""

    def __init__(self, encoder: Encoder, channels: int) -> None:
        super().__init__()
        self.blocks, self.channels, self.steps = encoder.blocks, channels, encoder.channel_steps

    def forward(self, image: Tensor, snr_db: Tensor) -> Tensor:
        bottleneck = self.blocks(image, condition(snr_db, self.channels, self.steps))
        sent: Tensor = bottleneck[:, : self.channels]
        symbols = sent.shape[1] * sent.shape[2] * sent.shape[3] / 2
        return sent * torch.sqrt(symbols / sent.square().sum((1, 2, 3), keepdim=True))


class _OnnxDecoder(nn.Module):
    """The decoder at one ratio; the channels that are not sent are zero."""

    def __init__(self, decoder: Decoder, channels: int) -> None:
        super().__init__()
        self.blocks, self.channels, self.steps = decoder.blocks, channels, decoder.channel_steps
        self.unsent, self.clamps = decoder.symbol_channels - channels, decoder.linear_path

    def forward(self, symbols: Tensor, snr_db: Tensor) -> Tensor:
        received = nn.functional.pad(symbols, (0, 0, 0, 0, 0, self.unsent))
        image: Tensor = self.blocks(received, condition(snr_db, self.channels, self.steps))
        return image.clamp(0, 1) if self.clamps else torch.sigmoid(image)


def export_onnx(
    root: Path, name: str, folder: Path, *, ratio: Fraction | None, size: tuple[int, int]
) -> list[OnnxCheck]:
    """Write the two files of a model, and compare them with PyTorch in onnxruntime.

    Args:
        root: folder of the bundles.
        name: the model.
        folder: existing folder for `encoder.onnx` and `decoder.onnx`.
        ratio: bandwidth ratio; None: the model's highest.
        size: width and height of the timed image; multiples of 16.

    Raises:
        InvalidInputError: the size is not a multiple of 16, or the model is not DeepJSCC.
        ModelNotFoundError: the model does not have that ratio.
        BundleError: the bundle is broken, or an exported network differs by more than 1e-4.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    if size[0] % STRIDE or size[1] % STRIDE or min(size) < STRIDE:
        raise InvalidInputError("size", f"got {size[0]}x{size[1]}; must be multiples of {STRIDE}")
    with needs("onnx", "the export to ONNX"):
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    config = read_config(root / name)
    if config.scheme != "deepjscc":
        raise InvalidInputError("model", f"got {name!r} ({config.scheme}); must be DeepJSCC")
    offered = config.channels_by_ratio
    chosen = max(offered) if ratio is None else ratio
    if chosen not in offered:
        names = ", ".join(map(format_ratio, offered))
        raise ModelNotFoundError(
            f"bandwidth_ratio: got {format_ratio(chosen)}; model {name!r} offers {names}"
        )
    channels = offered[chosen]
    encoder, decoder = load_encoder(root, config), load_deepjscc(root, config)
    about = _metadata(config, chosen)
    image, snr_db = torch.rand(2, 3, 2 * STRIDE, 3 * STRIDE), torch.zeros(2)
    _write(_OnnxEncoder(encoder, channels), ("image", image), snr_db, folder / ENCODER, about)
    symbols = torch.randn(2, channels, 2, 3)
    _write(_OnnxDecoder(decoder, channels), ("symbols", symbols), snr_db, folder / DECODER, about)
    return _check(encoder, decoder, channels, folder, size)


def _metadata(config: BundleConfig, ratio: Fraction) -> dict[str, str]:
    return {
        "model": config.name,
        "pair_id": config.pair_id,
        "bandwidth_ratio": format_ratio(ratio),
        "licence": config.licence,
        "symbols": "float32 of power 1; flattened, two neighbouring reals are one symbol (I, Q)",
    }


def _write(
    network: nn.Module,
    example: tuple[str, Tensor],
    snr_db: Tensor,
    path: Path,
    about: dict[str, str],
) -> None:
    (name, tensor), result = example, "image" if example[0] == "symbols" else "symbols"
    batch = torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)
    rows = torch.export.Dim("rows", min=1, max=_LARGEST_SIDE)
    columns = torch.export.Dim("columns", min=1, max=_LARGEST_SIDE)
    sides: Any = (rows, columns) if name == "symbols" else (STRIDE * rows, STRIDE * columns)
    with warnings.catch_warnings(), torch.no_grad():
        # On names of axes, and on what later versions will change.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(),
            (tensor, snr_db),
            dynamo=True,
            input_names=[name, "snr_db"],
            output_names=[result],
            dynamic_shapes=({0: batch, 2: sides[0], 3: sides[1]}, {0: batch}),
            verbose=False,
        )
    if program is None:
        raise BundleError(f"{path}: PyTorch made no ONNX program")
    program.model.metadata_props.update(about)
    program.save(path, external_data=False)


def _check(
    encoder: Encoder, decoder: Decoder, channels: int, folder: Path, size: tuple[int, int]
) -> list[OnnxCheck]:
    """Compare on three sizes that the export has not seen; time the last."""
    differences = {ENCODER: 0.0, DECODER: 0.0}
    sessions = {file: _session(folder / file) for file in differences}
    seconds: dict[str, float] = {}
    draw = torch.Generator().manual_seed(0)
    width, height = size
    for batch, rows, side in ((1, STRIDE, STRIDE), (3, 4 * STRIDE, 5 * STRIDE), (1, height, width)):
        images = torch.rand(batch, 3, rows, side, generator=draw)
        snr_db = torch.linspace(-5, 5, batch)
        with torch.inference_mode():
            symbols = encode(encoder, images, snr_db, channels)
            bottleneck, _ = bottleneck_from_symbols(symbols, channels, (rows, side))
            expected = decoder(symbols_from_bottleneck(bottleneck), snr_db, (rows, side))
        for file, given, right in (
            (ENCODER, ("image", images), bottleneck),
            (DECODER, ("symbols", bottleneck), expected),
        ):
            feed = {given[0]: given[1].numpy(), "snr_db": snr_db.numpy()}
            found, seconds[file] = _timed(sessions[file], feed)
            difference = float(np.abs(found - right.numpy()).max())
            differences[file] = max(differences[file], difference)
    for file, difference in differences.items():
        if not difference <= TOLERANCE:
            raise BundleError(
                f"{folder / file}: differs from PyTorch by {difference:.2g}; must be at most "
                f"{TOLERANCE:g}"
            )
    return [
        OnnxCheck(
            path := folder / file, path.stat().st_size / 1e6, differences[file], seconds[file], size
        )
        for file in differences
    ]


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _timed(session: Any, feed: dict[str, NDArray[Any]]) -> tuple[NDArray[np.float32], float]:
    """Run a session; return the output and the median time of a run after the first."""
    (found,) = session.run(None, feed)
    times = []
    for _ in range(_RUNS):
        started = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - started)
    return found, median(times)
