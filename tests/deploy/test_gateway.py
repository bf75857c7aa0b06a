# SPDX-License-Identifier: Apache-2.0
"""Envoy with the configuration that is deployed, in front of real services."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from genjscc import Link
from tests.helpers.deploy_tools import DEPLOY, run, tool
from tests.helpers.pictures import gradient
from tests.helpers.real_services import Services

CONFIGURATION = DEPLOY / "envoy" / "envoy.yaml"
TLS_CONFIGURATION = DEPLOY / "envoy" / "envoy-tls.yaml"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize("path", [CONFIGURATION, TLS_CONFIGURATION], ids=["plain", "tls"])
def test_envoy_takes_it(path: Path) -> None:
    run("envoy", "--mode", "validate", "--config-path", path)


def test_both_lead_to_the_same_places() -> None:
    plain, tls = (yaml.safe_load(path.read_text()) for path in (CONFIGURATION, TLS_CONFIGURATION))
    for kind in ("listeners", "clusters"):
        of_plain, of_tls = (
            {one["name"]: one.get("address") or one["load_assignment"] for one in these[kind]}
            for these in (plain["static_resources"], tls["static_resources"])
        )
        assert of_plain == of_tls


@pytest.fixture
def gateway(services: Services, tmp_path: Path) -> Iterator[dict[str, int]]:
    """Ports by listener: the deployed configuration with other addresses."""
    configuration = yaml.safe_load(CONFIGURATION.read_text())
    admin = free_port()
    configuration["admin"]["address"]["socket_address"]["port_value"] = admin
    ports = {}
    for listener in configuration["static_resources"]["listeners"]:
        ports[listener["name"]] = free_port()
        where = {"address": "127.0.0.1", "port_value": ports[listener["name"]]}
        listener["address"]["socket_address"] = where
    upstream = {**services.addresses, "admin": f"127.0.0.1:{admin}"}
    for cluster in configuration["static_resources"]["clusters"]:
        host, _, port = upstream[cluster["name"]].rpartition(":")
        (group,) = cluster["load_assignment"]["endpoints"]
        (endpoint,) = group["lb_endpoints"]
        where = {"address": host, "port_value": int(port)}
        endpoint["endpoint"]["address"]["socket_address"] = where
    path = tmp_path / "envoy.yaml"
    path.write_text(yaml.safe_dump(configuration))
    log = tmp_path / "envoy.log"
    command = [tool("envoy"), "--config-path", str(path)]
    command += ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]
    with log.open("w") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink)
    try:
        until = time.monotonic() + 300
        while not ready(ports["observation"]):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        yield ports
        assert process.poll() is None, log.read_text()
        assert not log.read_text(), log.read_text()  # nothing deprecated, nothing odd
    finally:
        process.terminate()
        process.wait()


def ready(port: int) -> bool:
    try:
        return "LIVE" in page(port, "ready")
    except OSError:
        return False


def page(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=60) as answer:
        return str(answer.read().decode())


def test_images_cross_the_gateway(gateway: dict[str, int], link: Link) -> None:
    services = ("transmitter", "channel", "receiver")
    addresses = {role: f"127.0.0.1:{gateway[role]}" for role in services}
    with Link(**addresses) as through:
        through.wait_ready(60)
        direct, passed = (one.send(gradient(), seed=4, snr_db=3) for one in (link, through))
        assert (direct.image == passed.image).all()
        assert direct.measured_snr_db == passed.measured_snr_db
        eight = [gradient()] * 8
        both = zip(link.send_many(eight, seed=4), through.send_many(eight, seed=4), strict=True)
        for expected, outcome in both:
            assert outcome.measured_snr_db == pytest.approx(expected.measured_snr_db, abs=1e-4)
    with pytest.raises(urllib.error.HTTPError):  # the rest of the admin interface stays inside
        page(gateway["observation"], "config_dump")
    stats = page(gateway["observation"], "stats/prometheus")
    for role in services:
        assert f'envoy_cluster_membership_healthy{{envoy_cluster_name="{role}"}} 1' in stats
