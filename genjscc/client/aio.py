# SPDX-License-Identifier: Apache-2.0
"""AsyncLink: the link over gRPC for asyncio programs."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from numpy import uint8
from numpy.typing import NDArray

from genjscc.client.exchange import (
    ImageInput,
    decode_request,
    encode_request,
    model_info,
    read_codeword,
    read_image,
    read_transmission,
    send_steps,
    transmit_request,
)
from genjscc.client.keywords import CommonKeywords, SendKeywords, options_for, options_for_each
from genjscc.client.options import Failure, Hop, ModelInfo, Reception, Transmission
from genjscc.client.pipeline import Pipeline
from genjscc.client.transport import (
    ROLES,
    Transport,
    default_address,
    new_request_metadata,
    translated,
)
from genjscc.errors import DeadlineError
from genjscc.v1 import transmitter_pb2
from genjscc.wire.codewords import Codeword

DEFAULT_TIMEOUT_S = 60.0


class AsyncLink:
    """Sends images through transmitter, channel and receiver.

    Args:
        transmitter: address as host:port; None: GENJSCC_TRANSMITTER or 127.0.0.1:50051.
        channel: None: GENJSCC_CHANNEL or 127.0.0.1:50052.
        receiver: None: GENJSCC_RECEIVER or 127.0.0.1:50053.
        timeout_s: time for one image over all hops; for `send_many`, time without any answer.

    Use it as `async with AsyncLink() as link: ...`, on one event loop.
    """

    def __init__(
        self,
        *,
        transmitter: str | None = None,
        channel: str | None = None,
        receiver: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        given = {"transmitter": transmitter, "channel": channel, "receiver": receiver}
        self.addresses = {role: a or default_address(role) for role, a in given.items()}
        self.timeout_s = timeout_s
        self._opened: Transport | None = None

    @property
    def _transport(self) -> Transport:
        # Made on first use: gRPC's channels bind to the running loop.
        if self._opened is None:
            self._opened = Transport(self.addresses)
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
        """Closes the connections."""
        if self._opened is not None:
            await self._opened.close()
            self._opened = None

    async def wait_ready(self, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Until all three services serve. Raises UnavailableError."""
        await self._transport.wait_ready(timeout_s)

    async def models(self) -> list[ModelInfo]:
        """The models that the transmitter offers."""
        role = ROLES["encode"]
        with translated(role, self.addresses[role]):
            answer = await self._transport.transmitter.ListModels(
                transmitter_pb2.TransmitterServiceListModelsRequest(), timeout=self.timeout_s
            )
        return [model_info(message) for message in answer.models]

    async def send(self, image: ImageInput, **keywords: Unpack[SendKeywords]) -> Reception:
        """One image over the link.

        Args:
            image: a path, a file's bytes, uint8 [H, W, 3], or a Pillow image.
            **keywords: the fields of `genjscc.Options`: snr_db, rate, model, scheme, seed,
                channel, told_snr_db.

        Raises:
            GenJSCCError: see `genjscc.errors`.
        """
        steps = send_steps(image, options_for(keywords))
        metadata, until = new_request_metadata(), time.monotonic() + self.timeout_s
        call = next(steps)
        while True:
            remaining = until - time.monotonic()
            if remaining <= 0:
                raise DeadlineError(f"{call.hop}: the {self.timeout_s:g} s for the image are over")
            response = await self._transport.call(
                call.hop, call.request, timeout_s=remaining, metadata=metadata
            )
            try:
                call = steps.send(response)
            except StopIteration as end:
                reception: Reception = end.value
                return reception

    async def send_many(
        self,
        images: Iterable[ImageInput],
        *,
        snr_db: float | Sequence[float] = 0.0,
        **keywords: Unpack[CommonKeywords],
    ) -> AsyncGenerator[Reception | Failure]:
        """Many images over the services' streams, answered in order.

        Image number i uses seed + i where a seed is given, and snr_db[i] where a sequence is.
        An image that fails is answered with a `Failure`; the others go on.

        Raises:
            UnavailableError: a service went away; the images under way have been answered
                with failures before.
            DeadlineError: no service answered for `timeout_s`; likewise.
        """
        pipeline = Pipeline(self._transport, self.timeout_s)
        each = options_for_each(snr_db, keywords)
        async for outcome in pipeline.run(images, each):
            yield outcome

    async def encode(self, image: ImageInput, **keywords: Unpack[SendKeywords]) -> Codeword:
        """The transmitter alone: an image's codeword."""
        request = encode_request(image, options_for(keywords))
        return read_codeword(await self._call("encode", request))

    async def transmit(self, codeword: Codeword, **keywords: Unpack[SendKeywords]) -> Transmission:
        """The channel alone: what is left of a codeword."""
        options = options_for(keywords)
        request = transmit_request(codeword, options)
        return read_transmission(await self._call("transmit", request), options)

    async def decode(
        self, transmission: Transmission, **keywords: Unpack[SendKeywords]
    ) -> NDArray[uint8]:
        """The receiver alone: the image of received symbols, uint8 [H, W, 3]."""
        request = decode_request(transmission, options_for(keywords))
        return read_image(await self._call("decode", request))

    async def _call(self, hop: Hop, request: Any) -> Any:
        return await self._transport.call(
            hop, request, timeout_s=self.timeout_s, metadata=new_request_metadata()
        )
