# SPDX-License-Identifier: Apache-2.0
"""Link: the link over gRPC for programs without asyncio, an AsyncLink on its own thread."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from numpy import uint8
from numpy.typing import NDArray

from genjscc.client.aio import DEFAULT_TIMEOUT_S, AsyncLink
from genjscc.client.inversion import InversionStep
from genjscc.client.keywords import CommonKeywords, SendKeywords
from genjscc.client.options import Failure, ModelInfo, Reception, Transmission
from genjscc.client.protocol import ImageInput
from genjscc.client.security import Security
from genjscc.client.transport import refuse_after_fork
from genjscc.errors import CancelledCallError, UnavailableError
from genjscc.wire.codewords import Codeword

T = TypeVar("T")


class Link:
    """Client that sends images through transmitter, channel and receiver.

    Arguments and methods are those of `AsyncLink`, without `await`. May be used from several
    threads. Use it as `with Link() as link: ...`.
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
        self._link = AsyncLink(
            transmitter=transmitter,
            channel=channel,
            receiver=receiver,
            timeout_s=timeout_s,
            security=security,
            retries=retries,
        )
        self._closed = False
        self._made_in = os.getpid()
        # Nothing is handed to the loop after `_end`: such a call would never be answered.
        self._handing_over = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="genjscc-link", daemon=True
        )
        self._thread.start()

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
        """Close the connections and cancel running calls; a second call does nothing."""
        if os.getpid() != self._made_in:
            return  # the thread that would close is the parent's
        with self._handing_over:
            if self._closed:
                return
            self._closed = True
            ended = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        try:
            ended.result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _end(self) -> None:
        await self._link.aclose()
        # Calls of other threads end now, and do not wait for a loop that stands still.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._loop.shutdown_asyncgens()

    @property
    def addresses(self) -> dict[str, str]:
        """Address of each service by role."""
        return self._link.addresses

    def wait_ready(self, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Wait until all three services serve. Raises UnavailableError."""
        self._wait(self._link.wait_ready(timeout_s))

    def models(self) -> list[ModelInfo]:
        """Return the models that the transmitter offers."""
        return self._wait(self._link.models())

    def decoders(self) -> list[ModelInfo]:
        """Return the models that the receiver can decode, each with its schemes."""
        return self._wait(self._link.decoders())

    def send(self, image: ImageInput, **keywords: Unpack[SendKeywords]) -> Reception:
        """Send one image over the link; see `AsyncLink.send`."""
        return self._wait(self._link.send(image, **keywords))

    def send_many(
        self,
        images: Iterable[ImageInput],
        *,
        snr_db: float | Sequence[float] = 0.0,
        **keywords: Unpack[CommonKeywords],
    ) -> Iterator[Reception | Failure]:
        """Send many images over the services' streams; see `AsyncLink.send_many`."""
        return self._iterate(self._link.send_many(images, snr_db=snr_db, **keywords))

    def watch(
        self, image: ImageInput, *, preview_every: int = 0, **keywords: Unpack[SendKeywords]
    ) -> Iterator[InversionStep | Reception]:
        """Decode one image by InverseJSCC and yield its progress; see `AsyncLink.watch`."""
        return self._iterate(self._link.watch(image, preview_every=preview_every, **keywords))

    def encode(self, image: ImageInput, **keywords: Unpack[SendKeywords]) -> Codeword:
        """Encode an image at the transmitter only and return its codeword."""
        return self._wait(self._link.encode(image, **keywords))

    def transmit(self, codeword: Codeword, **keywords: Unpack[SendKeywords]) -> Transmission:
        """Send a codeword through the channel only and return what arrives."""
        return self._wait(self._link.transmit(codeword, **keywords))

    def decode(
        self, received: Transmission | Codeword, **keywords: Unpack[SendKeywords]
    ) -> NDArray[uint8]:
        """Decode received symbols at the receiver only, to uint8 [H, W, 3]."""
        return self._wait(self._link.decode(received, **keywords))

    def _iterate(self, source: AsyncGenerator[T]) -> Iterator[T]:
        # Ctrl-C leaves the waiting while the source still runs to its end.
        turn = asyncio.Lock()

        async def next_one() -> T | None:
            async with turn:
                return await anext(source, None)

        async def close() -> None:
            async with turn:
                await source.aclose()

        try:
            while (one := self._wait(next_one())) is not None:
                yield one
        finally:
            if not self._closed and os.getpid() == self._made_in:
                self._wait(close())

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        future = self._hand_over(coroutine)
        try:
            return future.result()
        except CancelledError as error:
            raise CancelledCallError("the link was closed during the call") from error
        except BaseException:
            # Ctrl-C must stop the call, not only the waiting.
            future.cancel()
            raise

    def _hand_over(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        if os.getpid() != self._made_in:
            coroutine.close()
            refuse_after_fork()
            raise UnavailableError(
                f"link: was made in process {self._made_in} and its thread is not in its fork "
                f"{os.getpid()}; make one in each process"
            )
        with self._handing_over:
            if self._closed:
                coroutine.close()
                raise CancelledCallError("the link is closed")
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)
