# SPDX-License-Identifier: Apache-2.0
"""The images' health check."""

from __future__ import annotations

import gc
import socket
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from genjscc.client.probe import main
from genjscc.errors import UnavailableError
from genjscc.launch.containers import Project
from tests.helpers.real_services import Services


def test_a_service_that_serves(services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([services.channel.address]) == 0
    assert capsys.readouterr().err == ""


def test_a_service_that_drains(capsys: pytest.CaptureFixture[str]) -> None:
    with ThreadPoolExecutor(1) as pool:
        server, answers = grpc.server(pool), health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(answers, server)
        answers.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        assert main([address]) == 1
        server.stop(None).wait()
    assert capsys.readouterr().err == f"{address}: NOT_SERVING\n"


def test_nobody_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        assert main([address]) == 1
        assert "UNAVAILABLE" in capsys.readouterr().err
        monkeypatch.setenv("GENJSCC_TLS_CA", "/nowhere/ca.pem")
        assert main([address]) == 1
        assert "cannot read /nowhere/ca.pem" in capsys.readouterr().err
    assert main([]) == 1
    assert "usage" in capsys.readouterr().err


# The docker package leaves its socket to the garbage collector when nobody answers.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_engine_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(UnavailableError, match="no Docker engine answers"):
        Project()
    gc.collect()
