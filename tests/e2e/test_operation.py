# SPDX-License-Identifier: Apache-2.0
"""What an operator relies on: health, reflection, metrics, logs, drain, exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from channel.__main__ import main as channel_main
from genjscc import Link
from genjscc.v1 import channel_pb2, channel_pb2_grpc, codeword_pb2
from genjscc.wire.tensors import complex_to_message
from tests.helpers.command_line import run_main
from tests.helpers.deploy_tools import promtool, run
from tests.helpers.pictures import gradient
from tests.helpers.real_services import REPOSITORY, ServiceProcess, Services

ROLES = ("transmitter", "channel", "receiver")
SERVING = health_pb2.HealthCheckResponse.SERVING


def full_name(role: str) -> str:
    return f"genjscc.v1.{role.capitalize()}Service"


@pytest.mark.parametrize("role", ROLES)
def test_standard_health_probe(role: str, services: Services) -> None:
    with getattr(services, role).connect() as connection:
        stub = health_pb2_grpc.HealthStub(connection)
        for name in ("", full_name(role)):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=100)
            assert answer.status == SERVING
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(service="no.such.Service"), timeout=100)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def buf(*arguments: str) -> str:
    return run("buf", "curl", "--protocol", "grpc", "--http2-prior-knowledge", *arguments)


@pytest.mark.parametrize("role", ROLES)
def test_reflection_lists_the_calls(role: str, services: Services) -> None:
    listed = buf("--list-methods", f"http://{getattr(services, role).address}").split()
    own = {"transmitter": "Encode", "channel": "Transmit", "receiver": "Decode"}[role]
    assert {f"{full_name(role)}/{own}", f"{full_name(role)}/{own}Stream"} <= set(listed)
    assert "grpc.health.v1.Health/Check" in listed


def test_calling_through_reflection(services: Services) -> None:
    url = f"http://{services.transmitter.address}/{full_name('transmitter')}/ListModels"
    models = json.loads(buf("--data", "{}", url))["models"]
    assert [model["name"] for model in models] == ["tiny-multi", "tiny-single"]


def metrics_page(service: ServiceProcess) -> str:
    with urllib.request.urlopen(service.metrics_url, timeout=100) as answer:
        return str(answer.read().decode())


def sample(service: ServiceProcess, name: str, **labels: str) -> float:
    for family in text_string_to_metric_families(metrics_page(service)):
        for one in family.samples:
            if one.name == name and one.labels == labels:
                return float(one.value)
    return 0.0


@pytest.mark.parametrize("role", ROLES)
def test_metrics_page(role: str, services: Services, link: Link) -> None:
    link.send(gradient(), seed=1)
    list(link.send_many([gradient()] * 2, seed=1))
    service: ServiceProcess = getattr(services, role)
    families = {f.name: f for f in text_string_to_metric_families(metrics_page(service))}
    ours = {name: f for name, f in families.items() if name.startswith("genjscc_")}
    assert all(family.documentation.endswith(".") for family in ours.values())
    (build,) = families["genjscc_build_info"].samples
    assert build.labels["role"] == role
    method = {"transmitter": "Encode", "channel": "Transmit", "receiver": "Decode"}[role]
    assert sample(service, "genjscc_requests_total", method=method, code="OK") >= 1
    items = {"method": f"{method}Stream", "code": "OK"}
    assert sample(service, "genjscc_stream_items_total", **items) >= 2
    assert sample(service, "genjscc_ready") == 1
    assert sample(service, "genjscc_queue_depth") == 0


@pytest.mark.parametrize("role", ROLES)
def test_metrics_follow_the_conventions(role: str, services: Services) -> None:
    page = metrics_page(getattr(services, role))
    assert promtool("check", "metrics", stdin=page) == ""


def big_request() -> channel_pb2.TransmitRequest:
    """Half a second of work."""
    symbols = complex_to_message(np.ones(4 * 1024 * 1024, np.complex64))
    codeword = codeword_pb2.Codeword(symbols=symbols)
    return channel_pb2.TransmitRequest(codeword=codeword, snr_db=0.0, seed=1)


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[ServiceProcess]:
    # More grace than a busy machine needs for what the tests ask for.
    with ServiceProcess("channel", "--grace-s", "300", log=tmp_path / "channel.log") as service:
        yield service


def test_sigterm_lets_the_call_in_flight_end(channel: ServiceProcess) -> None:
    in_flight = {"method": "Transmit"}
    with channel.connect() as connection:
        stub = channel_pb2_grpc.ChannelServiceStub(connection)
        accepted = stub.Transmit.future(big_request(), timeout=200)
        while not sample(channel, "genjscc_in_flight_requests", **in_flight):
            assert not accepted.done(), "too fast to be caught in flight"
        channel.process.send_signal(signal.SIGTERM)
        while not any(entry["message"] == "draining" for entry in channel.entries()):
            time.sleep(0.01)
        with pytest.raises(grpc.RpcError) as caught:
            # Without content: megabytes that nobody reads any more make TCP reset the connection,
            # and the answer under way is lost with it.
            stub.Transmit(channel_pb2.TransmitRequest(), timeout=100)
        # The latter from gRPC's core, where it closes just then; the SDK takes both for the former.
        refused = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        assert caught.value.code() in refused
        assert accepted.result().seed == 1
    assert channel.wait() == 0
    assert channel.entries()[-1]["message"] == "stopped"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_services_end_at_once_and_well(channel: ServiceProcess, number: int) -> None:
    with channel.connect() as connection:
        stub = health_pb2_grpc.HealthStub(connection)
        watching = stub.Watch(health_pb2.HealthCheckRequest(), timeout=300)
        assert next(watching).status == SERVING
        started = time.monotonic()
        channel.process.send_signal(number)
        assert channel.wait() == 0
        assert time.monotonic() - started < 150  # less than the grace, in spite of the watch


def test_an_open_stream_does_not_outlast_the_grace(tmp_path: Path) -> None:
    hold = threading.Event()

    def silent() -> Iterator[Any]:
        hold.wait(200)
        yield from ()

    with (
        ServiceProcess("channel", "--grace-s", "1", log=tmp_path / "log") as channel,
        channel.connect() as connection,
    ):
        stream = channel_pb2_grpc.ChannelServiceStub(connection).TransmitStream(silent())
        while not sample(channel, "genjscc_in_flight_requests", method="TransmitStream"):
            time.sleep(0.01)
        assert channel.terminate() == 0
        with pytest.raises(grpc.RpcError):
            next(stream)
        hold.set()


def test_one_request_id_joins_the_logs_of_all_hops(services: Services, link: Link) -> None:
    def ids() -> set[str]:
        of_each = []
        for role in ROLES:
            calls = [e for e in getattr(services, role).entries() if e["message"] == "call"]
            assert {call["role"] for call in calls} <= {role}
            of_each.append({call["request_id"] for call in calls if call["code"] == "OK"})
        return set.intersection(*of_each)

    before = ids()
    link.send(gradient())
    link.send(gradient())
    until = time.monotonic() + 100
    while len(ids() - before) < 2:  # lines are written by a thread
        assert time.monotonic() < until
        time.sleep(0.05)
    assert len(ids() - before) == 2


@pytest.mark.parametrize(
    ("role", "flag", "problem"),
    [
        ("channel", "--port={taken}", "cannot listen on 127.0.0.1:{taken}"),
        ("receiver", "--bundles=/nowhere", "no bundle"),
    ],
)
def test_what_keeps_a_service_from_starting_is_told_in_one_line(
    role: str, flag: str, problem: str, services: Services
) -> None:
    taken = services.channel.address.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, "-m", role, flag.format(taken=taken)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert problem.format(taken=taken) in line
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (("--port", "99999"), "error: port: got '99999'"),
        (("--log-level", "LOUD"), "LOUD"),
        (("--surprise", "1"), "surprise"),
    ],
)
def test_wrong_flags_are_told(flags: tuple[str, ...], problem: str) -> None:
    done = run_main(channel_main, "channel", *flags)
    assert done.returncode == 2
    assert problem in done.stderr
    assert done.stdout == ""


def test_environment_and_flags(tmp_path: Path) -> None:
    done = run_main(channel_main, "channel", GENJSCC_MAX_BATCH="0")
    assert "max_batch: got '0'" in done.stderr
    assert run_main(channel_main, "channel", "--help").stdout.count("--max-batch") >= 1
    with ServiceProcess("channel", "--metrics-port", "-1", log=tmp_path / "log") as channel:
        assert channel.metrics_url == ""
