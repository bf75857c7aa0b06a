# SPDX-License-Identifier: Apache-2.0
"""Addresses as people write them: understood, or refused with the way out."""

from __future__ import annotations

import asyncio
import socket
import urllib.request

import pytest

from genjscc import AsyncLink
from genjscc.addresses import bare_host, grpc_target, hosts_of, is_loopback, joined
from genjscc.errors import InvalidInputError
from genjscc.serving.server import Server
from genjscc.serving.settings import ServiceSettings
from tests.helpers.fake_engines import FakeEngine, fake_service


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ("http://host:50051", "without 'http://'"),
        ("https://host:50051", "without 'https://'"),
        ("grpc://host", "without 'grpc://'"),
        ("::1:50051", r"brackets, as \[::1\]:50051"),
        ("fe80::1:50051", r"brackets, as \[fe80::1\]:50051"),
        ("::1", r"brackets, as \[::1\]:50051"),
        ("2001:db8::5", "brackets"),
        ("a:b:50051", "brackets"),
        ("[::1]", "host:port"),
        ("[nonsense]:50051", "host:port"),
        ("host/path:50051", "host:port"),
        ("host", "host:port"),
        (":50051", "host:port"),
        ("host:", "host:port"),
        ("host:99999", "host:port"),
        ("host:-1", "host:port"),
        ("good:1,::1:2", "brackets"),
    ],
)
def test_what_is_no_address_is_refused_with_a_hint(address: str, hint: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"receiver: got .*{hint}"):
        grpc_target(address, field="receiver")


@pytest.mark.parametrize(
    "address", ["host:1", "127.0.0.1:50051", "[::1]:50051", "dns:///host:1", "unix:/run/x.sock"]
)
def test_addresses_are_left_alone(address: str) -> None:
    assert grpc_target(address, field="receiver") == address


def test_ipv6_with_and_without_brackets() -> None:
    assert joined("::1", 5) == joined("[::1]", 5) == "[::1]:5"
    assert joined("host", 5) == "host:5"
    assert bare_host("[::1]") == bare_host("::1") == "::1"
    assert all(is_loopback(host) for host in hosts_of("[::1]:5"))


@pytest.mark.parametrize("host", ["http://127.0.0.1", "", "a b", "127.0.0.1/8"])
def test_a_service_listens_on_a_host(host: str) -> None:
    with pytest.raises(ValueError, match="host"):
        ServiceSettings(host=host)


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize("host", ["::1", "[::1]"])
async def test_services_and_their_metrics_listen_on_ipv6(host: str) -> None:
    server = Server(fake_service(FakeEngine()), ServiceSettings(host=host))
    await server.start()
    try:
        async with AsyncLink(**dict.fromkeys(("channel",), f"[::1]:{server.port}")) as link:
            await link._transport.wait_connected("transmit")
        page = f"http://[::1]:{server.metrics_port}/metrics"
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(page, timeout=100).read())
        assert b"genjscc_ready 1.0" in text
    finally:
        await server.stop()
