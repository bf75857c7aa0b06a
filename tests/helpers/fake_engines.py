# SPDX-License-Identifier: Apache-2.0
"""A scripted engine for tests of serving without networks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import grpc

from genjscc.errors import InvalidInputError
from genjscc.serving.metrics import Metrics
from genjscc.serving.scheduling.dispatcher import Dispatcher
from genjscc.serving.server import Service
from genjscc.serving.streams import answer_stream
from genjscc.v1 import channel_pb2, channel_pb2_grpc, codeword_pb2

NAME = "genjscc.v1.ChannelService"


class FakeEngine:
    """An engine whose jobs are strings; their prefix decides the outcome. `gate` blocks `run`."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.batches: list[list[str]] = []

    def prepare(self, request: Any) -> str:
        text = str(request if isinstance(request, str) else request.codeword.header.pair_id)
        if text.startswith("refuse"):
            raise InvalidInputError("text", f"got {text!r}")
        if text.startswith("slow-check"):
            self.gate.wait(200)
        if text.startswith("crash-early"):
            raise RuntimeError("secret of prepare")
        return text

    def key(self, job: str) -> Hashable:
        return job.partition(":")[2]

    def run(self, jobs: Sequence[str]) -> list[str]:
        self.batches.append(list(jobs))
        self.entered.set()
        if not self.gate.wait(200):
            raise TimeoutError("nobody opened the gate")
        for job in jobs:
            if job.startswith("crash"):
                raise RuntimeError("secret of run")
            if job.startswith("reject"):
                raise InvalidInputError("text", f"got {job!r}")
        return [f"<{job}>" for job in jobs if not job.startswith("lose")]

    def finish(self, job: str, result: str) -> Any:
        if job.startswith("end"):
            raise RuntimeError("secret of finish")
        header = codeword_pb2.CodewordHeader(pair_id=result)
        return channel_pb2.TransmitResponse(received=codeword_pb2.Codeword(header=header))


class FakeServicer(channel_pb2_grpc.ChannelServiceServicer):
    """A servicer with the channel's protocol."""

    def __init__(self, dispatcher: Dispatcher[Any, Any, Any, Any], metrics: Metrics) -> None:
        self._dispatcher, self._metrics = dispatcher, metrics

    async def Transmit(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._dispatcher.answer(request)

    def TransmitStream(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
        return answer_stream(
            self._dispatcher,
            self._metrics,
            "TransmitStream",
            request_iterator,
            channel_pb2.TransmitStreamResponse,
        )


def fake_service(engine: FakeEngine, before_load: Any = None) -> Service:
    """Wrap an engine as a service; `before_load` is called first, on the compute thread."""

    def load(_: Metrics) -> Any:
        if before_load is not None:
            before_load()
        return engine

    def register(dispatcher: Any, metrics: Metrics, server: grpc.aio.Server) -> None:
        channel_pb2_grpc.add_ChannelServiceServicer_to_server(
            FakeServicer(dispatcher, metrics), server
        )

    return Service("fake", NAME, load, register)


def request_for(text: str) -> channel_pb2.TransmitRequest:
    header = codeword_pb2.CodewordHeader(pair_id=text)
    return channel_pb2.TransmitRequest(codeword=codeword_pb2.Codeword(header=header))


def answer_of(response: channel_pb2.TransmitResponse) -> str:
    return response.received.header.pair_id


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds, at most 100 seconds."""
    for _ in range(20_000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("never happened")
