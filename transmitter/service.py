# SPDX-License-Identifier: Apache-2.0
"""The transmitter service: image in, codeword out."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import grpc
import numpy as np
import torch
from numpy.typing import NDArray

from genjscc.bundles.config import BundleConfig
from genjscc.bundles.store import encoder_sha256
from genjscc.errors import InvalidInputError
from genjscc.layers.tiles import Tiles
from genjscc.limits import Limits
from genjscc.pixels import images_per_pass, pixels_per_pass, to_padded_tensor, to_unit_range
from genjscc.serving.catalogue import Catalogue
from genjscc.serving.cores import enter_device
from genjscc.serving.metrics import Metrics
from genjscc.serving.scheduling.dispatcher import Dispatcher
from genjscc.serving.scheduling.tiled import Tiled
from genjscc.serving.server import Service
from genjscc.serving.settings import TransmitterSettings
from genjscc.serving.streams import answer_stream
from genjscc.v1 import transmitter_pb2, transmitter_pb2_grpc
from genjscc.wire.codewords import Codeword, codeword_to_message
from genjscc.wire.images import rgb_from_message
from genjscc.wire.numbers import checked_snr_db
from transmitter.encoder import Encoder, encode, encode_tiles
from transmitter.models import load_encoder

_QUICK_BYTES = 3 * 128 * 128


@dataclass(frozen=True, eq=False)
class EncodeJob:
    """A validated request: padded pixels uint8 [3, H', W'] and encoding options."""

    model: str
    ratio: Fraction
    channels: int
    snr_db: float
    size: tuple[int, int]
    pixels: torch.Tensor


@dataclass(frozen=True, eq=False)
class EncodeResult:
    """Normalised symbols complex64 [k] and the compute time of their batch."""

    symbols: NDArray[np.complex64]
    seconds: float


class TransmitterEngine:
    """Engine of the transmitter, with the encoders of a folder of bundles."""

    runs_quickly = False

    def __init__(self, settings: TransmitterSettings) -> None:
        enter_device(settings.device_cores)
        torch.set_num_threads(settings.threads)
        encoders: dict[str | None, Encoder] = {}

        def load(root: Path, config: BundleConfig) -> Encoder:
            sha256 = encoder_sha256(config)  # bundles that share an encoder share its memory
            if sha256 not in encoders:
                encoders[sha256] = load_encoder(root, config)
            return encoders[sha256]

        self.catalogue: Catalogue[Encoder] = Catalogue(settings, load)
        self._limits = Limits(settings.max_pixels, settings.max_symbols)
        self._per_pass = pixels_per_pass(settings.max_pixels, self.catalogue.device.type)
        self.tiled: Tiled[EncodeJob, EncodeResult] = Tiled(
            self._is_large,
            self._begin,
            lambda z, seconds: EncodeResult(z[0].cpu().numpy(), seconds),
            self.catalogue.precision,
        )

    def is_quick(self, request: transmitter_pb2.EncodeRequest) -> bool:
        image = request.image
        return image.WhichOneof("content") == "raw" and len(image.raw.rgb) <= _QUICK_BYTES

    def prepare(self, request: transmitter_pb2.EncodeRequest) -> EncodeJob:
        model = self.catalogue.by_name(request.model)
        ratio, channels = model.rate(request.bandwidth_ratio)
        if not request.HasField("snr_db"):
            raise InvalidInputError("snr_db", "is missing; the encoder must be told an SNR in dB")
        snr_db = model.told_snr_db(checked_snr_db(request.snr_db))
        rgb = rgb_from_message(request.image, limits=self._limits)
        height, width, _ = rgb.shape
        model.padded_size((height, width), max_pixels=self._limits.max_pixels)
        pixels = to_padded_tensor(rgb)
        return EncodeJob(model.name, ratio, channels, snr_db, (height, width), pixels)

    def key(self, job: EncodeJob) -> Hashable:
        return job.model, job.channels, job.pixels.shape

    def most_together(self, job: EncodeJob) -> int:
        """Return how many jobs like this one run in one pass."""
        _, rows, columns = job.pixels.shape
        return images_per_pass((rows, columns), max_pixels=self._per_pass)

    def _is_large(self, job: EncodeJob) -> bool:
        _, rows, columns = job.pixels.shape
        return rows * columns > self._per_pass

    def _begin(self, job: EncodeJob) -> Tiles:
        device = self.catalogue.device
        images = to_unit_range(job.pixels[None].to(device))
        snr_db = torch.tensor([job.snr_db], device=device)
        return encode_tiles(self.catalogue.by_name(job.model).network, images, snr_db, job.channels)

    def run(self, jobs: Sequence[EncodeJob]) -> list[EncodeResult]:
        started = time.perf_counter()
        first = jobs[0]
        network, device = self.catalogue.by_name(first.model).network, self.catalogue.device
        _, rows, columns = first.pixels.shape
        if self._is_large(first):
            return [self.tiled.run(job) for job in jobs]
        step = images_per_pass((rows, columns), max_pixels=self._per_pass)
        symbols: list[NDArray[np.complex64]] = []
        for start in range(0, len(jobs), step):
            part = jobs[start : start + step]
            images = to_unit_range(torch.stack([job.pixels for job in part]).to(device))
            snr_db = torch.tensor([job.snr_db for job in part], device=device)
            with torch.inference_mode(), self.catalogue.precision():
                z = encode(network, images, snr_db, first.channels)
            symbols.extend(z.cpu().numpy())
        seconds = time.perf_counter() - started
        return [EncodeResult(row, seconds) for row in symbols]

    def finish(self, job: EncodeJob, result: EncodeResult) -> transmitter_pb2.EncodeResponse:
        config = self.catalogue.by_name(job.model).config
        pair_id = config.codeword_pair_id
        codeword = Codeword(result.symbols, pair_id, job.ratio, job.size, job.snr_db)
        return transmitter_pb2.EncodeResponse(
            codeword=codeword_to_message(codeword),
            model=job.model,
            compute_seconds=result.seconds,
            decoder=job.model if config.shared_encoder else "",
        )

    def warm_up(self) -> None:
        """Trace each encoder to a graph and run it once.

        For a process that serves: PyTorch keeps what belongs to a graph to the end of the process.
        """
        with self.catalogue.precision():
            for model in self.catalogue:
                model.network.freeze(self.catalogue.device)
        self.catalogue.warm_up(
            lambda model: self.run(
                [
                    EncodeJob(
                        model.name,
                        *model.rate(""),
                        0.0,
                        model.smallest_size,
                        torch.zeros(3, *model.smallest_size, dtype=torch.uint8),
                    )
                ]
            )
        )


class TransmitterServicer(transmitter_pb2_grpc.TransmitterServiceServicer):
    """gRPC servicer in front of the engine."""

    def __init__(self, dispatcher: Dispatcher[Any, Any, Any, Any], metrics: Metrics) -> None:
        self._dispatcher, self._metrics = dispatcher, metrics

    async def Encode(self, request: Any, context: Any) -> transmitter_pb2.EncodeResponse:
        response: transmitter_pb2.EncodeResponse = await self._dispatcher.answer(request)
        return response

    def EncodeStream(
        self,
        request_iterator: Any,
        context: Any,
    ) -> AsyncIterator[transmitter_pb2.EncodeStreamResponse]:
        return answer_stream(
            self._dispatcher,
            self._metrics,
            "EncodeStream",
            request_iterator,
            transmitter_pb2.EncodeStreamResponse,
        )

    async def ListModels(
        self,
        request: Any,
        context: Any,
    ) -> transmitter_pb2.TransmitterServiceListModelsResponse:
        engine = cast("TransmitterEngine", self._dispatcher.engine)
        return transmitter_pb2.TransmitterServiceListModelsResponse(
            models=engine.catalogue.messages()
        )


def transmitter_service(settings: TransmitterSettings) -> Service:
    """Return the transmitter service, ready to be served."""

    def load(metrics: Metrics) -> TransmitterEngine:
        engine = TransmitterEngine(settings)
        metrics.left_out_bundles.set(len(engine.catalogue.left_out))
        engine.warm_up()
        return engine

    def register(
        dispatcher: Dispatcher[Any, Any, Any, Any], metrics: Metrics, server: grpc.aio.Server
    ) -> None:
        servicer = TransmitterServicer(dispatcher, metrics)
        transmitter_pb2_grpc.add_TransmitterServiceServicer_to_server(servicer, server)

    name = transmitter_pb2.DESCRIPTOR.services_by_name["TransmitterService"].full_name
    return Service("transmitter", name, load, register)
