# SPDX-License-Identifier: Apache-2.0
"""Sweep of a scheme over bandwidth ratios and SNRs: send images, measure the receptions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channel.noise import unit_noise_rows
from genjscc.client.inversion import InversionOptions
from genjscc.client.options import (
    Awgn,
    Channel,
    Failure,
    ModelInfo,
    Reception,
    SchemeName,
    SnrKnowledge,
)
from genjscc.errors import InvalidInputError
from genjscc.evaluation.linear import LinearCode, image_of, tiles_of, transmit_linear
from genjscc.evaluation.records import Record
from genjscc.quality.frechet import SetDistance
from genjscc.quality.metrics import Metric, grid_metrics, ms_ssim, ms_ssim_scales, psnr
from genjscc.quality.statistics import mean_of
from genjscc.wire.ofdm import Ofdm

Rgb = NDArray[np.uint8]
_CHUNK = 32
_CACHE_BYTES = 2 * 2**30


class SendsMany(Protocol):
    """A link, local or remote."""

    def send_many(
        self, images: Iterable[Any], *, snr_db: float, **keywords: Any
    ) -> Iterator[Reception | Failure]:
        """Yield the outcomes in the order of the images."""
        ...


@dataclass(frozen=True)
class Dataset:
    """Test images, uint8 [H, W, 3]; distances between sets need equal sizes."""

    name: str
    split: str
    images: Sequence[Rgb]

    @property
    def size(self) -> str:
        """Width x height, or 'mixed'."""
        sizes = {image.shape[:2] for image in self.images}
        if len(sizes) > 1:
            return "mixed"
        height, width = sizes.pop()
        return f"{width}x{height}"


@dataclass(frozen=True)
class Measured:
    """Metrics of the received images of one cell."""

    values: dict[str, list[float]]
    """one value per image, by metric"""
    sets: dict[str, float]
    """distances between the set of received images and the set of originals"""
    ms_ssim_scales: int

    def fields(self) -> dict[str, Any]:
        """Return the metric fields of a record."""
        means = {name: mean_of(list_) for name, list_ in self.values.items()}
        return {**means, **self.sets, "ms_ssim_scales": self.ms_ssim_scales}


@dataclass
class Meter:
    """Quality metrics of received images against their originals.

    The metrics' prepared originals are cached for the next call, up to a memory limit.

    Args:
        perceptual: further metrics by record field, such as `st_lpips_vgg`.
        distances: distances between sets, by record field.
    """

    perceptual: dict[str, Metric] = field(default_factory=dict)
    distances: dict[str, SetDistance] = field(default_factory=dict)
    _originals: Sequence[Rgb] = field(default=(), repr=False)
    _cache: dict[tuple[str, int], Any] = field(default_factory=dict, repr=False)
    _free_bytes: int = field(default=_CACHE_BYTES, repr=False)

    def measure(self, originals: Sequence[Rgb], received: Sequence[Rgb]) -> Measured:
        """Measure one value per image and metric, and the distances between the sets."""
        if self._originals is not originals:
            self._originals, self._free_bytes = originals, _CACHE_BYTES
            self._cache.clear()
            for distance in self.distances.values():
                distance.set_reference(_batches(originals))
        side = min(side for image in originals for side in image.shape[:2])
        metrics = {
            "psnr_db": Metric(psnr),
            "ms_ssim": Metric(ms_ssim),
            **self.perceptual,
            **grid_metrics(side),
        }
        values: dict[str, list[float]] = {name: [] for name in metrics}
        pairs = zip(_batches(originals), _batches(received), strict=True)
        for number, (x, x_hat) in enumerate(pairs):
            for name, metric in metrics.items():
                prepared = self._prepare((name, number), metric, x)
                values[name] += metric.compare(prepared, x_hat).tolist()
        sets = {name: d.to_reference(_batches(received)) for name, d in self.distances.items()}
        return Measured(values, sets, ms_ssim_scales(min(originals[0].shape[:2])))

    def _prepare(self, key: tuple[str, int], metric: Metric, reference: Tensor) -> Any:
        if key in self._cache:
            return self._cache[key]
        prepared = metric.prepare(reference)
        if isinstance(prepared, list):
            size = sum(part.nbytes for part in prepared)
            if size <= self._free_bytes:
                self._cache[key] = prepared
                self._free_bytes -= size
        return prepared


def _batches(images: Sequence[Rgb]) -> Iterator[Tensor]:
    """Yield batches [B, 3, H, W] in [0, 1] of consecutive images of equal size."""
    start = 0
    while start < len(images):
        end = start + 1
        while end < min(start + _CHUNK, len(images)) and images[end].shape == images[start].shape:
            end += 1
        stacked = np.stack(images[start:end])
        yield torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255
        start = end


@dataclass(frozen=True)
class Cell:
    """One point of a sweep."""

    bandwidth_ratio: str
    snr_db: float
    told_snr_db: float | None = None


def evaluate_cell(
    link: SendsMany,
    model: ModelInfo,
    dataset: Dataset,
    cell: Cell,
    meter: Meter,
    *,
    seed: int,
    scheme: SchemeName,
    inversion: InversionOptions | None = None,
    channel: Channel | None = None,
    snr: SnrKnowledge = "known",
    note: Callable[[Reception], None] = lambda _: None,
) -> tuple[Record, Measured]:
    """Send all images of a data set over a link and measure the receptions.

    Args:
        link: a link, local or remote.
        model: a model that the link offers.
        dataset: the images.
        cell: ratio and SNR.
        meter: the metrics.
        seed: base noise seed; image i uses seed + i.
        scheme: decoding scheme.
        inversion: options of the scheme inverse.
        channel: channel model; None: AWGN.
        snr: whether the decoder is told the SNR, or the receiver's estimate.
        note: called with each reception.

    Raises:
        GenJSCCError: an image failed; a mean over the others would be misleading.
    """
    kind = channel or Awgn()
    received: list[Rgb] = []
    symbols: set[int] = set()
    uses: set[int] = set()
    estimates: list[float] = []
    outcomes = link.send_many(
        dataset.images,
        snr_db=cell.snr_db,
        told_snr_db=cell.told_snr_db,
        rate=cell.bandwidth_ratio,
        model=model.name,
        scheme=scheme,
        seed=seed,
        channel=kind,
        inversion=inversion,
        snr=snr,
    )
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            raise outcome.error
        received.append(outcome.image)
        symbols.add(outcome.codeword.k)
        uses.add(outcome.transmission.channel_uses)
        if snr == "estimated" and outcome.decoder_snr_db is not None:
            estimates.append(outcome.decoder_snr_db)
        note(outcome)
    measured = meter.measure(dataset.images, received)
    asked = None if inversion is None else asdict(inversion)
    record = Record(
        scheme=scheme,
        inversion=asked and {name: value for name, value in asked.items() if value is not None},
        bundle=model.name,
        pair_id=model.pair_id,
        dataset=dataset.name,
        split=dataset.split,
        n=len(received),
        image_size=dataset.size,
        bandwidth_ratio=cell.bandwidth_ratio,
        k=symbols.pop() if len(symbols) == 1 else None,
        channel=type(kind).__name__.lower(),
        ofdm=asdict(kind) if isinstance(kind, Ofdm) else None,
        channel_uses=uses.pop() if isinstance(kind, Ofdm) and len(uses) == 1 else None,
        snr_db=cell.snr_db,
        snr=snr,
        decoder_snr_db=mean_of(estimates) if len(estimates) > 1 else None,
        told_snr_db=cell.told_snr_db,
        seed=seed,
        **measured.fields(),
    )
    return record, measured


def evaluate_linear(
    code: LinearCode, dataset: Dataset, cell: Cell, meter: Meter, *, k: int, seed: int
) -> tuple[Record, Measured]:
    """Evaluate the linear baseline on the same images with the same noise.

    An image larger than the code's squares is sent square by square.

    Args:
        code: a linear code for squares.
        dataset: images made of whole squares, the same number in each.
        cell: ratio and SNR.
        meter: the metrics.
        k: symbols per square.
        seed: base noise seed; image i uses seed + i.

    Raises:
        InvalidInputError: an image is not made of whole squares, or the numbers differ.
    """
    squares = [tiles_of(image, code.side) for batch in _batches(dataset.images) for image in batch]
    if len({len(one) for one in squares}) > 1:
        raise InvalidInputError("linear", "images must all have the same number of pixels")
    count = len(squares[0])
    noise = unit_noise_rows(range(seed, seed + len(squares)), k * count).reshape(-1, k)
    x_hat = transmit_linear(code, torch.cat(squares), k, cell.snr_db, torch.from_numpy(noise))
    pixels = (x_hat * 255).round().to(torch.uint8)
    received = [
        image_of(tiles, image.shape[:2], code.side).permute(1, 2, 0).numpy()
        for tiles, image in zip(torch.split(pixels, count), dataset.images, strict=True)
    ]
    measured = meter.measure(dataset.images, received)
    record = Record(
        scheme="linear",
        bundle=None,
        pair_id=None,
        dataset=dataset.name,
        split=dataset.split,
        n=len(received),
        image_size=dataset.size,
        bandwidth_ratio=cell.bandwidth_ratio,
        k=k * count,
        snr_db=cell.snr_db,
        seed=seed,
        **measured.fields(),
    )
    return record, measured
