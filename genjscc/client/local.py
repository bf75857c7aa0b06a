# SPDX-License-Identifier: Apache-2.0
"""LocalLink: the same link in one process, without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, Unpack

from numpy import uint8
from numpy.typing import NDArray

from genjscc.client.inversion import InversionStep, read_step
from genjscc.client.keywords import CommonKeywords, SendKeywords, options_for, options_for_each
from genjscc.client.options import HOPS, Failure, Hop, ModelInfo, Reception, Transmission
from genjscc.client.protocol import (
    ImageInput,
    Journey,
    decode_request,
    encode_request,
    inverse_options,
    invert_request,
    last_of,
    model_info,
    read_codeword,
    read_image,
    read_transmission,
    send_steps,
    transmit_request,
)
from genjscc.client.validation import checked_count, checked_images
from genjscc.errors import GenJSCCError, InvalidInputError, checked_kind, needs
from genjscc.wire.codewords import Codeword

_CHUNK = 64


class LocalLink:
    """Transmitter, channel and receiver in this process; methods and results as in `Link`.

    Args:
        bundles: folder of the trained models; None: the services' default.
        model: default model by name. `org/name` of the Hugging Face Hub, the URL of a folder or
            a folder as `./mirror/name` is fetched on first use, and taken from the cache later.
        device: PyTorch device of the networks.
        dtype: precision of the networks; "auto": bfloat16 where it is native.
        threads: CPU threads of the networks.
        max_batch: images that `send_many` computes together.
        plugins: channel functions by name, for `PluginChannel`; see `channel.plugins`.

    Raises:
        MissingExtraError: torch, the services' code or the Hub's client is not installed.
        DownloadError: a published model cannot be fetched.
        InvalidInputError: an argument is of the wrong type, or there is no such device.
        BundleError: there is no usable model.
    """

    def __init__(
        self,
        *,
        bundles: str | Path | None = None,
        model: str | None = None,
        device: str = "cpu",
        dtype: Literal["float32", "bfloat16", "auto"] = "float32",
        threads: int = 1,
        max_batch: int = 16,
        plugins: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        with needs("models", "LocalLink", otherwise=", or use Link"):
            from pydantic import ValidationError

            from channel.service import ChannelEngine
            from genjscc.bundles.pull import cached_or_pulled
            from genjscc.bundles.sources import source_of
            from genjscc.serving.engine import answer, answer_many
            from genjscc.serving.settings import (
                ChannelSettings,
                ReceiverSettings,
                TransmitterSettings,
            )
            from receiver.inverse.serving import Previews
            from receiver.service import ReceiverEngine
            from transmitter.service import TransmitterEngine
        fields: dict[str, Any] = {"device": device, "dtype": dtype, "threads": threads}
        if bundles is not None:
            fields["bundles"] = Path(checked_kind(bundles, (str, Path), "bundles"))
        if model is not None:
            if "/" not in checked_kind(model, str, "model"):
                fields["default_model"] = model
            elif bundles is not None:
                raise InvalidInputError("bundles", "a published model has its own folder; omit it")
            else:
                fields["bundles"] = cached_or_pulled(source_of(model))
        if plugins is not None:
            checked_kind(plugins, Mapping, "plugins")
        self._max_batch = checked_count(max_batch, "max_batch", least=1)
        try:
            sending, receiving = TransmitterSettings(**fields), ReceiverSettings(**fields)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise InvalidInputError(field, f"got {first['input']!r}; {first['msg']}") from error
        self._transmitter = TransmitterEngine(sending)
        self._engines: dict[Hop, Any] = {
            "encode": self._transmitter,
            "transmit": ChannelEngine(ChannelSettings(), plugins=plugins),
            "decode": ReceiverEngine(receiving),
        }
        self._answer, self._answer_many = answer, answer_many
        self._previews = Previews

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing; present because `Link` has it."""

    def wait_ready(self, timeout_s: float = 0.0) -> None:
        """Return at once: the link is ready when it is made."""

    def models(self) -> list[ModelInfo]:
        """Return the available models."""
        return [model_info(message) for message in self._transmitter.catalogue.messages()]

    def decoders(self) -> list[ModelInfo]:
        """Return the models that the receiver can decode, each with its schemes."""
        return [model_info(message) for message in self._engines["decode"].models()]

    def send(self, image: ImageInput, **keywords: Unpack[SendKeywords]) -> Reception:
        """Send one image over the link; see `AsyncLink.send`."""
        steps = send_steps(image, options_for(keywords))
        call = next(steps)
        while True:
            response = self._answer(self._engines[call.hop], call.request)
            try:
                call = steps.send(response)
            except StopIteration as end:
                reception: Reception = end.value
                return reception

    def watch(
        self, image: ImageInput, *, preview_every: int = 0, **keywords: Unpack[SendKeywords]
    ) -> Iterator[InversionStep | Reception]:
        """Decode one image by InverseJSCC and yield its progress; see `AsyncLink.watch`."""
        steps = send_steps(image, inverse_options(options_for(keywords)))
        call = next(steps)
        while call.hop != "decode":
            call = steps.send(self._answer(self._engines[call.hop], call.request))
        request = invert_request(call.request, preview_every)
        previews = self._previews(request.preview_every, request.request.format)
        engine = self._engines["decode"]
        job = engine.prepare(request.request)
        course = engine.begin(job)
        result = None
        while result is None:
            (report,) = engine.advance([course])
            yield read_step(previews.progress(report))
            result = report.result
        yield last_of(steps, engine.finish(job, result))

    def send_many(
        self,
        images: Iterable[ImageInput],
        *,
        snr_db: float | Sequence[float] = 0.0,
        **keywords: Unpack[CommonKeywords],
    ) -> Iterator[Reception | Failure]:
        """Send many images in batches; see `AsyncLink.send_many`."""
        each = options_for_each(snr_db, keywords)
        numbered = enumerate(checked_images(images))
        broken: Exception | None = None
        while broken is None:
            chunk: list[tuple[int, ImageInput, Any]] = []
            try:
                for index, image in islice(numbered, _CHUNK):
                    chunk.append((index, image, each))
            except Exception as error:  # noqa: BLE001 (raised after the outcomes of those before)
                broken = error
            yield from self._send_chunk(chunk)
            if len(chunk) < _CHUNK:
                break
        if broken is not None:
            raise broken

    def _send_chunk(self, chunk: list[tuple[int, ImageInput, Any]]) -> list[Reception | Failure]:
        outcomes: dict[int, Reception | Failure] = {}
        journeys: dict[int, Journey] = {}
        pending: dict[int, Any] = {}
        for index, image, each in chunk:
            try:
                journeys[index] = Journey(each(index))
                pending[index] = journeys[index].first(image)
            except GenJSCCError as error:
                outcomes[index] = Failure(index, error)
        for hop in HOPS:
            responses = self._answer_many(
                self._engines[hop], list(pending.values()), self._max_batch
            )
            following: dict[int, Any] = {}
            for index, response in zip(pending, responses, strict=True):
                try:
                    if isinstance(response, GenJSCCError):
                        raise response
                    journey = journeys[index]
                    if hop == "encode":
                        following[index] = journey.after_encode(response)
                    elif hop == "transmit":
                        following[index] = journey.after_transmit(response)
                    else:
                        outcomes[index] = journey.after_decode(response)
                except GenJSCCError as error:
                    outcomes[index] = Failure(index, error)
            pending = following
        return [outcomes[index] for index, _, _ in chunk]

    def encode(self, image: ImageInput, **keywords: Unpack[SendKeywords]) -> Codeword:
        """Encode an image at the transmitter only and return its codeword."""
        options = options_for(keywords)
        response = self._answer(self._engines["encode"], encode_request(image, options))
        return read_codeword(response, options)

    def transmit(self, codeword: Codeword, **keywords: Unpack[SendKeywords]) -> Transmission:
        """Send a codeword through the channel only and return what arrives."""
        options = options_for(keywords)
        request = transmit_request(codeword, options)
        return read_transmission(self._answer(self._engines["transmit"], request), options)

    def decode(
        self, received: Transmission | Codeword, **keywords: Unpack[SendKeywords]
    ) -> NDArray[uint8]:
        """Decode received symbols at the receiver only, to uint8 [H, W, 3]."""
        request = decode_request(received, options_for(keywords))
        return read_image(self._answer(self._engines["decode"], request))
