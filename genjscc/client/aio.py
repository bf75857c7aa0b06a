# SPDX-License-Identifier: Apache-2.0
"""AsyncLink: the link over gRPC for asyncio programs."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, Unpack

from numpy import uint8
from numpy.typing import NDArray

from genjscc.client.inversion import InversionStep, read_step
from genjscc.client.keywords import (
    CommonKeywords,
    SendKeywords,
    options_for,
    options_for_each,
    time_for,
)
from genjscc.client.options import Failure, Hop, ModelInfo, Reception, Transmission
from genjscc.client.pipeline import Pipeline
from genjscc.client.protocol import (
    ImageInput,
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
from genjscc.client.security import Security
from genjscc.client.tracing import link_span
from genjscc.client.transport import (
    ROLES,
    Transport,
    default_address,
    new_request_id,
    refuse_after_fork,
    time_limit,
    translated,
)
from genjscc.client.validation import checked_images, checked_timeout
from genjscc.errors import DeadlineError, checked_kind
from genjscc.v1 import receiver_pb2, transmitter_pb2
from genjscc.wire.codewords import Codeword

DEFAULT_TIMEOUT_S = 60.0


class AsyncLink:
    """Client that sends images through transmitter, channel and receiver.

    Args:
        transmitter: address as host:port; None: GENJSCC_TRANSMITTER or 127.0.0.1:50051. Several
            replicas with commas, or as a name with several addresses, take turns.
        channel: None: GENJSCC_CHANNEL or 127.0.0.1:50052.
        receiver: None: GENJSCC_RECEIVER or 127.0.0.1:50053.
        timeout_s: time for one image over all hops; each hop is told what is left of it. For
            `send_many`: how long a service may be out of reach or silent. math.inf: no limit.
        security: TLS and token; None: as the environment says (`Security.from_environment`).
        retries: repeat single calls that a service could not take (UNAVAILABLE,
            RESOURCE_EXHAUSTED) a few times, with growing pauses, within their time.

    Raises:
        InvalidInputError: an argument is of the wrong type, or the security settings contradict
            each other.

    Use it as `async with AsyncLink() as link: ...`, on one event loop.
    """

    def __init__(
        self,
        *,
        transmitter: str | None = None,
        channel: str | None = None,
        receiver: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        security: Security | None = None,
        retries: bool = True,
    ) -> None:
        given = {"transmitter": transmitter, "channel": channel, "receiver": receiver}
        for role, address in given.items():
            checked_kind(address, (str, type(None)), role)
        checked_kind(security, (Security, type(None)), "security")
        checked_kind(retries, bool, "retries")
        self.addresses = {role: a or default_address(role) for role, a in given.items()}
        self.timeout_s = checked_timeout(timeout_s)
        self._security = Security.from_environment() if security is None else security
        self._retries = retries
        self._opened: Transport | None = None

    @property
    def _transport(self) -> Transport:
        # Made on first use: gRPC's channels bind to the running loop.
        refuse_after_fork()
        if self._opened is None:
            self._opened = Transport(self.addresses, self._security, retries=self._retries)
        return self._opened

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            await self._opened.close()
            self._opened = None

    async def wait_ready(self, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Wait until all three services serve. Raises UnavailableError."""
        await self._transport.wait_ready(checked_timeout(timeout_s))

    async def models(self) -> list[ModelInfo]:
        """Return the models that the transmitter offers."""
        role = ROLES["encode"]
        with translated(role, self.addresses[role]):
            answer = await self._transport.transmitter.ListModels(
                transmitter_pb2.TransmitterServiceListModelsRequest(),
                timeout=time_limit(self.timeout_s),
                metadata=self._transport.metadata(new_request_id()),
            )
        return [model_info(message) for message in answer.models]

    async def decoders(self) -> list[ModelInfo]:
        """Return the models that the receiver can decode, each with its schemes."""
        role = ROLES["decode"]
        with translated(role, self.addresses[role]):
            answer = await self._transport.receiver.ListModels(
                receiver_pb2.ReceiverServiceListModelsRequest(),
                timeout=time_limit(self.timeout_s),
                metadata=self._transport.metadata(new_request_id()),
            )
        return [model_info(message) for message in answer.models]

    async def send(self, image: ImageInput, **keywords: Unpack[SendKeywords]) -> Reception:
        """Send one image over the link.

        Args:
            image: a path, a file's bytes, a Pillow image, a NumPy array [H, W, C] or a PyTorch
                tensor [C, H, W]; numbers are uint8, or floats in [0, 1].
            **keywords: the fields of `genjscc.Options`: snr_db, rate, model, scheme, seed,
                channel, told_snr_db, inversion; and timeout_s, in place of the link's.

        Raises:
            GenJSCCError: see `genjscc.errors`.
        """
        steps = send_steps(image, options_for(keywords))
        seconds = time_for(keywords, self.timeout_s)
        call, until = next(steps), time.monotonic() + seconds
        request_id = new_request_id()
        with link_span("genjscc.send", request_id) as trace:
            metadata = self._transport.metadata(request_id, trace)
            while True:
                response = await self._transport.call(
                    call.hop,
                    call.request,
                    timeout_s=_remaining(until, call.hop, seconds),
                    metadata=metadata,
                )
                try:
                    call = steps.send(response)
                except StopIteration as end:
                    reception: Reception = end.value
                    return reception

    async def watch(
        self, image: ImageInput, *, preview_every: int = 0, **keywords: Unpack[SendKeywords]
    ) -> AsyncGenerator[InversionStep | Reception]:
        """Send one image, decode it by InverseJSCC, and yield its progress, then the reception.

        A slow reader misses steps, never the reception. Closing the generator stops the work.

        Args:
            image: as for `send`.
            preview_every: steps from one preview to the next; 0: none.
            **keywords: as for `send`; `inversion` says how to optimise.

        Raises:
            GenJSCCError: see `genjscc.errors`.
        """
        steps = send_steps(image, inverse_options(options_for(keywords)))
        seconds = time_for(keywords, self.timeout_s)
        call, until = next(steps), time.monotonic() + seconds
        request_id = new_request_id()
        with link_span("genjscc.watch", request_id) as trace:
            metadata = self._transport.metadata(request_id, trace)
            while call.hop != "decode":
                remaining = _remaining(until, call.hop, seconds)
                response = await self._transport.call(
                    call.hop, call.request, timeout_s=remaining, metadata=metadata
                )
                call = steps.send(response)
            request = invert_request(call.request, preview_every)
            remaining = _remaining(until, call.hop, seconds)
            messages = self._transport.invert(request, timeout_s=remaining, metadata=metadata)
            async with aclosing(messages):
                async for message in messages:
                    if message.HasField("progress"):
                        yield read_step(message.progress)
                    else:
                        yield last_of(steps, message.response)

    async def send_many(
        self,
        images: Iterable[ImageInput],
        *,
        snr_db: float | Sequence[float] = 0.0,
        **keywords: Unpack[CommonKeywords],
    ) -> AsyncGenerator[Reception | Failure]:
        """Send many images over the services' streams and yield the results in order.

        `images` is any iterable, also a batch: an array [B, H, W, C] or a tensor [B, C, H, W].
        Image number i uses seed + i where a seed is given, and snr_db[i] where a sequence is.
        Every image is answered once: with a `Reception`, or with a `Failure` that says why there
        is none; the others go on. Where a service dies, what it has not answered goes to another
        replica, or waits for its return up to `timeout_s` (5 s for a service that was never
        there); then images fail at once until it is back.

        Raises:
            Exception: what the source of the images raised, after the outcomes of those before.
        """
        each, request_id = options_for_each(snr_db, keywords), new_request_id()
        images = checked_images(images)
        with link_span("genjscc.send_many", request_id) as trace:
            metadata = self._transport.metadata(request_id, trace)
            pipeline = Pipeline(self._transport, time_for(keywords, self.timeout_s), metadata)
            async with aclosing(pipeline.run(images, each)) as outcomes:
                async for outcome in outcomes:
                    yield outcome

    async def encode(self, image: ImageInput, **keywords: Unpack[SendKeywords]) -> Codeword:
        """Encode an image at the transmitter only and return its codeword."""
        options = options_for(keywords)
        request = encode_request(image, options)
        return read_codeword(
            await self._call("encode", request, time_for(keywords, self.timeout_s)), options
        )

    async def transmit(self, codeword: Codeword, **keywords: Unpack[SendKeywords]) -> Transmission:
        """Send a codeword through the channel only and return what arrives."""
        options = options_for(keywords)
        request = transmit_request(codeword, options)
        return read_transmission(
            await self._call("transmit", request, time_for(keywords, self.timeout_s)), options
        )

    async def decode(
        self, received: Transmission | Codeword, **keywords: Unpack[SendKeywords]
    ) -> NDArray[uint8]:
        """Decode received symbols at the receiver only, to uint8 [H, W, 3].

        A codeword may come from elsewhere, such as a recording of a radio (`genjscc.load_sigmf`).
        """
        request = decode_request(received, options_for(keywords))
        return read_image(await self._call("decode", request, time_for(keywords, self.timeout_s)))

    async def _call(self, hop: Hop, request: Any, timeout_s: float) -> Any:
        metadata = self._transport.metadata(new_request_id())
        return await self._transport.call(hop, request, timeout_s=timeout_s, metadata=metadata)


def _remaining(until: float, hop: Hop, seconds: float) -> float:
    remaining = until - time.monotonic()
    if remaining <= 0:
        raise DeadlineError(f"{hop}: the {seconds:g} s for the image are over")
    return remaining
