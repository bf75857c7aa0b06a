# SPDX-License-Identifier: Apache-2.0
"""Streams over real sockets: order, completeness, failures, leaving, slowness, a dead service."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from channel.noise import unit_complex_gaussian
from genjscc import Failure, Link, Reception
from genjscc.errors import DeadlineError, GenJSCCError, UnavailableError
from genjscc.v1 import channel_pb2, channel_pb2_grpc, codeword_pb2
from genjscc.wire.tensors import complex_to_message
from tests.helpers.pictures import gradient, noise
from tests.helpers.real_services import ServiceProcess, Services

K = 256


def request_for(index: int, k: int = K) -> channel_pb2.TransmitRequest:
    symbols = complex_to_message(unit_complex_gaussian(index % 50 + 1, k))
    return channel_pb2.TransmitRequest(
        codeword=codeword_pb2.Codeword(symbols=symbols),
        snr_db=float(index % 61 - 20),
        seed=1_000_000 + index,
    )


def item(index: int, k: int = K) -> channel_pb2.TransmitStreamRequest:
    return channel_pb2.TransmitStreamRequest(item_id=index, request=request_for(index, k))


@pytest.fixture
def stub(services: Services) -> Iterator[channel_pb2_grpc.ChannelServiceStub]:
    with services.channel.connect() as connection:
        yield channel_pb2_grpc.ChannelServiceStub(connection)


def test_thousands_of_codewords_come_back_in_order_and_complete(stub: Any) -> None:
    count = 4_000
    deviations = np.empty(count)
    for expected, answer in enumerate(stub.TransmitStream(item(i) for i in range(count))):
        assert answer.item_id == expected
        response = answer.response
        assert response.seed == 1_000_000 + expected
        deviations[expected] = response.measured_snr_db - (expected % 61 - 20)
        if expected % 997 == 0:
            alone = stub.Transmit(request_for(expected))
            assert alone.received == response.received
            assert alone.measured_snr_db == response.measured_snr_db
    assert expected == count - 1
    # Signal energy is exact and noise energy a mean of K exponentials: 10/ln(10)/sqrt(K) dB.
    sigma = 10 / np.log(10) / np.sqrt(K)
    assert np.abs(deviations).max() < 6 * sigma
    assert abs(deviations.std() - sigma) < 0.05 * sigma


def test_a_failing_item_leaves_the_others(stub: Any) -> None:
    def source() -> Iterator[channel_pb2.TransmitStreamRequest]:
        for index in range(100):
            request = item(index)
            if index % 10 == 3:
                request.request.snr_db = float("nan")
            if index % 10 == 7:
                request.ClearField("request")
            yield request

    answers = list(stub.TransmitStream(source()))
    assert [a.item_id for a in answers] == list(range(100))
    for index, answer in enumerate(answers):
        if index % 10 in (3, 7):
            assert answer.error.code == 3
            assert ("snr_db: got nan" in answer.error.message) is (index % 10 == 3)
        else:
            assert answer.response.seed == 1_000_000 + index


def endless() -> Iterator[channel_pb2.TransmitStreamRequest]:
    index = 0
    while True:
        yield item(index)
        index += 1


def test_a_cancelled_stream_frees_the_service(stub: Any) -> None:
    for _ in range(5):
        stream = stub.TransmitStream(endless())
        assert next(stream).item_id == 0
        stream.cancel()
    started = time.monotonic()
    assert stub.Transmit(request_for(1)).seed == 1_000_001
    assert time.monotonic() - started < 100


def test_a_slow_reader_gets_everything_and_slows_the_sender_only(stub: Any) -> None:
    sent, count = 0, 600

    def source() -> Iterator[channel_pb2.TransmitStreamRequest]:
        nonlocal sent
        for index in range(count):
            sent = index
            yield item(index, 16_384)

    stream = stub.TransmitStream(source())
    assert next(stream).item_id == 0
    time.sleep(1.0)
    # The windows of gRPC and of the service hold a part of the 75 MiB, not all.
    assert sent < 500
    assert stub.Transmit(request_for(1)).seed == 1_000_001  # others are served meanwhile
    assert [answer.item_id for answer in stream] == list(range(1, count))


def test_many_streams_at_once_do_not_fail_each_other(services: Services) -> None:
    complete: list[bool] = []

    def one() -> None:
        with services.channel.connect() as connection:
            stub = channel_pb2_grpc.ChannelServiceStub(connection)
            answers = list(stub.TransmitStream(item(i) for i in range(300)))
            complete.append(all(a.WhichOneof("result") == "response" for a in answers))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert complete == [True] * 8


def outcome_indices(outcomes: list[Any]) -> list[int]:
    """Position of each outcome by what it says itself: seeds count from 0."""
    return [o.index if isinstance(o, Failure) else o.seed for o in outcomes]


def test_killed_replicas_lose_nothing(services: Services, tmp_path: Path) -> None:
    count, kill_after = 600, (100, 400)
    with ExitStack() as stack:

        def start(name: str, port: str = "0") -> ServiceProcess:
            return stack.enter_context(
                ServiceProcess("channel", "--port", port, log=tmp_path / name)
            )

        replicas = [start("a"), start("b")]
        addresses = [replica.address for replica in replicas]
        with Link(**(services.addresses | {"channel": ",".join(addresses)})) as link:
            outcomes = []
            for outcome in link.send_many((noise(16, 16, i) for i in range(count)), seed=0):
                outcomes.append(outcome)
                if len(outcomes) in kill_after:
                    number = kill_after.index(len(outcomes)) % 2
                    replicas[number].process.kill()
                    replicas[number] = start(f"{len(outcomes)}", addresses[number].split(":")[1])
    assert all(isinstance(outcome, Reception) for outcome in outcomes)
    assert outcome_indices(outcomes) == list(range(count))


def test_a_service_that_never_returns_ends_every_image(services: Services, tmp_path: Path) -> None:
    count = 300
    with (
        ServiceProcess("channel", log=tmp_path / "log") as channel,
        Link(**(services.addresses | {"channel": channel.address}), timeout_s=2.0) as link,
    ):
        outcomes = []
        for outcome in link.send_many((noise(16, 16, i) for i in range(count)), seed=0):
            outcomes.append(outcome)
            if len(outcomes) == 10:
                channel.process.kill()
        # Those that were never taken from the source before it died, too.
        assert outcome_indices(outcomes) == list(range(count))
        kinds = [isinstance(outcome, Failure) for outcome in outcomes]
        assert kinds == sorted(kinds)
        failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
        assert failures
        assert all(isinstance(f.error, UnavailableError) for f in failures)
        assert all(channel.address in str(f.error) for f in failures)
        with pytest.raises(UnavailableError, match="channel at"):
            link.send(gradient())
        # The two others are as good as before.
        assert link.encode(gradient()).k


def test_a_service_that_stands_still_is_given_up(services: Services, tmp_path: Path) -> None:
    with (
        ServiceProcess("channel", log=tmp_path / "log") as channel,
        Link(**(services.addresses | {"channel": channel.address}), timeout_s=2.0) as link,
    ):
        channel.process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(DeadlineError, match="channel at"):
                link.send(gradient())
            outcomes = list(link.send_many([gradient()] * 3))
        finally:
            channel.process.send_signal(signal.SIGCONT)
        assert outcome_indices(outcomes) == [0, 1, 2]
        assert all(isinstance(o, Failure) and isinstance(o.error, DeadlineError) for o in outcomes)


def test_nobody_there(tmp_path: Path) -> None:
    with ServiceProcess("channel", log=tmp_path / "log") as gone:
        address = gone.address
    addresses = dict.fromkeys(("transmitter", "channel", "receiver"), address)
    with Link(**addresses, timeout_s=1.0) as link:
        with pytest.raises((UnavailableError, DeadlineError), match="transmitter at"):
            link.send(gradient())
        outcomes = list(link.send_many([gradient()] * 3))
        assert outcome_indices(outcomes) == [0, 1, 2]
        for outcome in outcomes:
            assert isinstance(outcome, Failure)
            assert isinstance(outcome.error, UnavailableError)
        with pytest.raises(UnavailableError, match=r"transmitter at .* is not ready after 0\.5 s"):
            link.wait_ready(0.5)
        with pytest.raises(GenJSCCError):
            link.models()
