# SPDX-License-Identifier: Apache-2.0
"""The receiver service: received symbols in, image out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Hashable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import grpc
import numpy as np
import torch
from torch import nn

from channel.blind import blind_snr_db
from channel.physics import spread_gains, zero_force
from genjscc.bundles.config import BundleConfig
from genjscc.errors import InvalidInputError, UnsupportedError, WrongPairError
from genjscc.layers.bottleneck import num_symbols
from genjscc.layers.tiles import Tiles
from genjscc.limits import Limits
from genjscc.pixels import images_per_pass, padded_size, pixels_per_pass
from genjscc.serving.catalogue import Catalogue, LoadedModel
from genjscc.serving.cores import enter_device
from genjscc.serving.metrics import Metrics
from genjscc.serving.scheduling.dispatcher import Dispatcher
from genjscc.serving.scheduling.tiled import Tiled
from genjscc.serving.server import Service
from genjscc.serving.settings import ReceiverSettings
from genjscc.serving.streams import answer_stream
from genjscc.v1 import model_pb2, receiver_pb2, receiver_pb2_grpc, tensor_pb2
from genjscc.wire.codewords import codeword_from_message, gains_from_message
from genjscc.wire.images import rgb_to_message
from genjscc.wire.numbers import checked_snr_db
from genjscc.wire.schemes import SCHEMES, scheme_label
from receiver.deepjscc import Decoder, Reconstruct
from receiver.inverse.serving import (
    BEYOND_ARITHMETIC,
    DIVERGED,
    Course,
    Inversions,
    Previews,
    StepReport,
    inversion_key,
)
from receiver.jobs import DecodeJob, DecodeResult, pixels_of
from receiver.models import Generators, load_decoder

Schemes = dict[model_pb2.Scheme.ValueType, Reconstruct]

_QUICK_BYTES = 3 * 128 * 128


class ReceiverEngine:
    """Engine of the receiver, with the decoders of a folder of bundles."""

    runs_quickly = False

    def __init__(self, settings: ReceiverSettings) -> None:
        enter_device(settings.device_cores)
        torch.set_num_threads(settings.threads)
        generators = Generators(settings.bundles)

        def load(root: Path, config: BundleConfig) -> nn.Module:
            return load_decoder(root, config, generators)

        self.catalogue: Catalogue[nn.Module] = Catalogue(settings, load)
        self._reconstruct: dict[str, Reconstruct] = {m.name: m.network for m in self.catalogue}
        self._limits = Limits(settings.max_pixels, settings.max_symbols)
        self._per_pass = pixels_per_pass(settings.max_pixels, self.catalogue.device.type)
        self.tiled: Tiled[DecodeJob, DecodeResult] = Tiled(
            self._is_large,
            self._begin_tiles,
            lambda images, seconds: DecodeResult(pixels_of(images)[0], seconds),
            self.catalogue.precision,
        )
        self._inversions = Inversions(settings, self.catalogue, generators)
        self.max_active = settings.max_inversions
        self.max_together = settings.inversion_max_batch

    def models(self) -> list[model_pb2.Model]:
        """Return the answer of ListModels: the models with their available schemes."""
        listed = self.catalogue.messages()
        for message in listed:
            model = self.catalogue.by_name(message.name)
            message.schemes.extend(self.offered(model))
            if self._inversions.offered(model):
                message.inversion_sizes.extend(self._inversions.sizes())
        return listed

    def offered(self, model: LoadedModel[nn.Module]) -> list[model_pb2.Scheme.ValueType]:
        """Return the schemes that can decode a model's symbols, its own first."""
        inverse = self._inversions.offered(model)
        return [*self.schemes(model), *([model_pb2.SCHEME_INVERSE_JSCC] if inverse else [])]

    def schemes(self, model: LoadedModel[nn.Module]) -> Schemes:
        """Return the one-pass decoders of a model's symbols by `Scheme`, its own first."""
        return {SCHEMES[model.config.scheme]: self._reconstruct[model.name]}

    def is_quick(self, request: receiver_pb2.DecodeRequest) -> bool:
        header = request.received.header
        return (
            request.format == tensor_pb2.IMAGE_FORMAT_RAW
            and request.scheme != model_pb2.SCHEME_INVERSE_JSCC
            and 3 * header.image_height * header.image_width <= _QUICK_BYTES
            and len(request.received.symbols.data) <= _QUICK_BYTES
            and len(request.state.gains.data) <= _QUICK_BYTES
        )

    def prepare(self, request: receiver_pb2.DecodeRequest) -> DecodeJob:
        codeword = codeword_from_message(request.received, limits=self._limits, field="received")
        model = self._decoder_for(codeword.pair_id, request.model)
        offered = self.offered(model)
        scheme = request.scheme or offered[0]
        if scheme not in offered:
            names = ", ".join(scheme_label(number) for number in offered)
            raise UnsupportedError(
                f"scheme: got {scheme_label(scheme)}; model {model.name!r} offers {names}"
            )
        channels = model.config.channels_by_ratio.get(codeword.bandwidth_ratio)
        if channels is None:
            raise WrongPairError(
                "received.header.bandwidth_ratio: "
                f"got {request.received.header.bandwidth_ratio!r}; "
                f"model {model.name!r} was not trained for it"
            )
        padded = model.padded_size(
            codeword.image_size,
            max_pixels=self._limits.max_pixels,
            field="received.header.image_height",
        )
        expected = num_symbols(channels, padded)
        if codeword.k != expected:
            height, width = codeword.image_size
            raise InvalidInputError(
                "received.symbols",
                f"got k = {codeword.k}; {request.received.header.bandwidth_ratio} of a "
                f"{width}x{height} image is k = {expected}",
            )
        symbols, spread = codeword.symbols, None
        if request.HasField("state"):
            gains, length = gains_from_message(request.state, k=codeword.k, limits=self._limits)
            spread = spread_gains(gains, codeword.k, length)
            with np.errstate(over="ignore", invalid="ignore"):
                symbols = zero_force(symbols, spread)
            if not np.isfinite(symbols).all():
                raise InvalidInputError(
                    "state.gains", "one is too close to 0 to divide received.symbols by it"
                )
        if request.estimate_snr:
            snr_db = blind_snr_db(codeword.symbols, spread)
        elif request.HasField("snr_db"):
            snr_db = checked_snr_db(request.snr_db)
        elif codeword.snr_db is not None:
            snr_db = codeword.snr_db
        else:
            raise InvalidInputError("snr_db", "is missing here and in received.header.snr_db")
        snr_db = model.told_snr_db(snr_db)
        size, plan = codeword.image_size, None
        if scheme == model_pb2.SCHEME_INVERSE_JSCC:
            plan = self._inversions.plan(request.inversion, channels, size)
        elif request.HasField("inversion"):
            raise InvalidInputError(
                "inversion", f"is for the scheme inverse; got {scheme_label(scheme)}"
            )
        return DecodeJob(model.name, scheme, snr_db, size, symbols, request.format, plan)

    def _decoder_for(self, pair_id: str, name: str) -> LoadedModel[nn.Module]:
        model = self.catalogue.by_name(name) if name else self.catalogue.by_pair(pair_id)
        if model is None:
            pairs = ", ".join(f"{m.config.codeword_pair_id} ({m.name})" for m in self.catalogue)
            raise WrongPairError(
                f"received.header.pair_id: got {pair_id!r}; the decoders here understand {pairs}"
            )
        understood = model.config.codeword_pair_id
        if understood != pair_id:
            raise WrongPairError(
                f"received.header.pair_id: got {pair_id!r}; "
                f"model {model.name!r} understands {understood}"
            )
        return model

    def key(self, job: DecodeJob) -> Hashable:
        own = inversion_key(job)
        return job.model, job.scheme, len(job.symbols), padded_size(job.size), own

    def run(self, jobs: Sequence[DecodeJob]) -> list[DecodeResult]:
        if jobs[0].plan is not None:
            return self._inversions.run(jobs, self._receive)
        if self._is_large(jobs[0]):
            return [self.tiled.run(job) for job in jobs]
        started = time.perf_counter()
        images = [rgb for batch in self._decode(jobs) for rgb in pixels_of(batch)]
        seconds = time.perf_counter() - started
        return [DecodeResult(rgb, seconds) for rgb in images]

    def most_together(self, job: DecodeJob) -> int:
        """Return how many jobs like this one run in one pass."""
        return images_per_pass(padded_size(job.size), max_pixels=self._per_pass)

    def _is_large(self, job: DecodeJob) -> bool:
        rows, columns = padded_size(job.size)
        network = self.catalogue.by_name(job.model).network
        return job.plan is None and isinstance(network, Decoder) and rows * columns > self._per_pass

    def _begin_tiles(self, job: DecodeJob) -> Tiles:
        device = self.catalogue.device
        network = cast("Decoder", self.catalogue.by_name(job.model).network)
        symbols = torch.from_numpy(np.stack([job.symbols])).to(device)
        snr_db = torch.tensor([job.snr_db], device=device)
        return network.tiles(symbols, snr_db, padded_size(job.size))

    def is_stepwise(self, job: DecodeJob) -> bool:
        """Return whether a job is an inversion."""
        return job.plan is not None

    def begin(self, job: DecodeJob) -> Course:
        """Return the state of an inversion before its first step."""
        return self._inversions.begin(job)

    def advance(self, courses: Sequence[Course]) -> list[StepReport]:
        """Run one step of inversions with the same key."""
        return self._inversions.advance(courses, self._receive)

    def _receive(self, jobs: Sequence[DecodeJob]) -> list[torch.Tensor]:
        """Decode the symbols with the pair's own decoder, to tensors that allow gradients."""
        return [image.clone() for batch in self._decode(jobs) for image in batch]

    def _decode(self, jobs: Sequence[DecodeJob]) -> Iterator[torch.Tensor]:
        first = jobs[0]
        schemes = self.schemes(self.catalogue.by_name(first.model))
        # What is to be inverted is first received as the pair's own scheme has it.
        reconstruct = schemes.get(first.scheme) or next(iter(schemes.values()))
        device = self.catalogue.device
        size = padded_size(first.size)
        step = images_per_pass(size, max_pixels=self._per_pass)
        for start in range(0, len(jobs), step):
            part = jobs[start : start + step]
            symbols = torch.from_numpy(np.stack([job.symbols for job in part])).to(device)
            snr_db = torch.tensor([job.snr_db for job in part], device=device)
            with torch.inference_mode(), self.catalogue.precision():
                images = reconstruct(symbols, snr_db, size)
            yield images

    def finish(self, job: DecodeJob, result: DecodeResult) -> receiver_pb2.DecodeResponse:
        if result.rgb is None:
            raise InvalidInputError(*(BEYOND_ARITHMETIC if job.plan is None else DIVERGED))
        height, width = job.size
        return receiver_pb2.DecodeResponse(
            image=rgb_to_message(result.rgb[:height, :width], job.format),
            model=job.model,
            scheme=job.scheme,
            compute_seconds=result.seconds,
            inversion=result.summary,
            snr_db=job.snr_db,
        )

    def warm_up(self) -> None:
        """Trace the DeepJSCC decoders and run each decoder once.

        For a process that serves: PyTorch keeps what belongs to a graph to the end of the process.
        """
        with self.catalogue.precision():
            for model in self.catalogue:
                if isinstance(model.network, Decoder):  # inversions need its gradients
                    self._reconstruct[model.name] = model.network.frozen()
        self.catalogue.warm_up(lambda model: self.run([self._any_job(model)]))
        self._inversions.warm_up(self._receive)

    def _any_job(self, model: LoadedModel[nn.Module]) -> DecodeJob:
        size = model.smallest_size
        symbols = np.ones(num_symbols(model.config.symbol_channels, size), np.complex64)
        scheme = next(iter(self.schemes(model)))
        return DecodeJob(model.name, scheme, 0.0, size, symbols, tensor_pb2.IMAGE_FORMAT_RAW)


class ReceiverServicer(receiver_pb2_grpc.ReceiverServiceServicer):
    """gRPC servicer in front of the engine."""

    def __init__(self, dispatcher: Dispatcher[Any, Any, Any, Any], metrics: Metrics) -> None:
        self._dispatcher, self._metrics = dispatcher, metrics

    async def Decode(self, request: Any, context: Any) -> receiver_pb2.DecodeResponse:
        response: receiver_pb2.DecodeResponse = await self._dispatcher.answer(request)
        return response

    def DecodeStream(
        self,
        request_iterator: Any,
        context: Any,
    ) -> AsyncIterator[receiver_pb2.DecodeStreamResponse]:
        return answer_stream(
            self._dispatcher,
            self._metrics,
            "DecodeStream",
            request_iterator,
            receiver_pb2.DecodeStreamResponse,
        )

    async def Invert(
        self, request: Any, context: Any
    ) -> AsyncIterator[receiver_pb2.InvertResponse]:
        wanted = request.request
        wanted.scheme = wanted.scheme or model_pb2.SCHEME_INVERSE_JSCC
        if wanted.scheme != model_pb2.SCHEME_INVERSE_JSCC:
            raise InvalidInputError(
                "request.scheme", f"got {scheme_label(wanted.scheme)}; must be inverse or not set"
            )
        previews = Previews(request.preview_every, wanted.format)
        async with aclosing(self._dispatcher.follow(wanted)) as events:
            async for event in events:
                if isinstance(event, receiver_pb2.DecodeResponse):
                    yield receiver_pb2.InvertResponse(response=event)
                    continue
                progress = await asyncio.to_thread(previews.progress, event)
                yield receiver_pb2.InvertResponse(progress=progress)

    async def ListModels(
        self,
        request: Any,
        context: Any,
    ) -> receiver_pb2.ReceiverServiceListModelsResponse:
        engine = cast("ReceiverEngine", self._dispatcher.engine)
        return receiver_pb2.ReceiverServiceListModelsResponse(models=engine.models())


def receiver_service(settings: ReceiverSettings) -> Service:
    """Return the receiver service, ready to be served."""

    def load(metrics: Metrics) -> ReceiverEngine:
        engine = ReceiverEngine(settings)
        metrics.left_out_bundles.set(len(engine.catalogue.left_out))
        engine.warm_up()
        return engine

    def register(
        dispatcher: Dispatcher[Any, Any, Any, Any], metrics: Metrics, server: grpc.aio.Server
    ) -> None:
        servicer = ReceiverServicer(dispatcher, metrics)
        receiver_pb2_grpc.add_ReceiverServiceServicer_to_server(servicer, server)

    name = receiver_pb2.DESCRIPTOR.services_by_name["ReceiverService"].full_name
    return Service("receiver", name, load, register)
