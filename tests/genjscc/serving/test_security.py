# SPDX-License-Identifier: Apache-2.0
"""Who gets in, on real sockets: certificates, tokens, and what stays open."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from genjscc import Link, Security
from genjscc.client.transport import Transport
from genjscc.errors import AccessError, GenJSCCError, InvalidInputError, UnavailableError
from genjscc.serving.server import Server
from genjscc.serving.settings import ChannelSettings, ServiceSettings, read_settings
from genjscc.v1 import channel_pb2, channel_pb2_grpc
from tests.helpers.fake_engines import FakeEngine, answer_of, fake_service, request_for, until
from tests.helpers.tcp_proxy import tcp_proxy

TOKEN = "a-token-of-the-test"
SERVING = health_pb2.HealthCheckResponse.SERVING


class Files:
    """An authority, what it issued, and a stranger's."""

    def __init__(self, folder: Path) -> None:
        authority, stranger = trustme.CA(), trustme.CA()
        self.ca, self.other_ca = folder / "ca.pem", folder / "other-ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        stranger.cert_pem.write_to_path(self.other_ca)
        self.server = self._issue(authority, folder, "server", "127.0.0.1", "jscc.test")
        self.client = self._issue(authority, folder, "client", "me@example.org")
        self.foreign = self._issue(stranger, folder, "foreign", "me@example.org")

    @staticmethod
    def _issue(authority: trustme.CA, folder: Path, name: str, *names: str) -> tuple[Path, Path]:
        issued = authority.issue_cert(*names)
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        return certificate, key

    @property
    def tls(self) -> dict[str, Any]:
        certificate, key = self.server
        return {"tls_certificate": certificate, "tls_key": key}

    @property
    def mtls(self) -> dict[str, Any]:
        return self.tls | {"tls_client_ca": self.ca}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("certificates"))


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[Server]:
    server = Server(fake_service(FakeEngine()), ServiceSettings(**settings))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def transmit(server: Server, security: Security, host: str = "127.0.0.1") -> str:
    """A call through the SDK's own connection."""
    address = f"{host}:{server.port}"
    transport = Transport(dict.fromkeys(("transmitter", "channel", "receiver"), address), security)
    try:
        metadata = transport.metadata("test")
        return answer_of(
            await transport.call("transmit", request_for("x"), timeout_s=10, metadata=metadata)
        )
    finally:
        await transport.close()


async def test_tls_serves_those_who_trust_it_and_nobody_in_clear(files: Files) -> None:
    async with serving(**files.tls) as server:
        assert await transmit(server, Security(ca=files.ca)) == "<x>"
        with pytest.raises(UnavailableError, match=r"channel at .* does not use TLS: if the"):
            await transmit(server, Security())
        with pytest.raises(UnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            await transmit(server, Security(ca=files.other_ca))
        with pytest.raises(UnavailableError):  # not among the authorities that gRPC ships
            await transmit(server, Security(tls=True))
    async with serving() as server:
        with pytest.raises(UnavailableError, match="this link uses TLS, and the service does not"):
            await transmit(server, Security(ca=files.ca))


async def test_the_certificate_must_be_of_the_host(files: Files) -> None:
    async with serving(**files.tls) as server:
        trusting = Security(ca=files.ca)
        with pytest.raises(UnavailableError):
            await transmit(server, trusting, host="localhost")
        named = replace(trusting, server_name="jscc.test")
        assert await transmit(server, named, host="localhost") == "<x>"
        # Several addresses: the name of the first is asked of all.
        both = f"127.0.0.1:{server.port},127.0.0.1"
        assert await transmit(server, trusting, host=both) == "<x>"


async def test_mtls_refuses_clients_without_or_with_a_foreign_certificate(files: Files) -> None:
    async with serving(**files.mtls) as server:
        known = Security(ca=files.ca, certificate=files.client[0], key=files.client[1])
        assert await transmit(server, known) == "<x>"
        with pytest.raises(UnavailableError):
            await transmit(server, Security(ca=files.ca))
        foreign = replace(known, certificate=files.foreign[0], key=files.foreign[1])
        with pytest.raises(UnavailableError):
            await transmit(server, foreign)
        counted = {"method": "Transmit", "code": "OK"}
        value = server.metrics.registry.get_sample_value
        await until(lambda: value("genjscc_requests_total", counted) == 1)


@pytest.mark.parametrize("encrypted", [False, True])
async def test_tokens(encrypted: bool, files: Files, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("first-token\nsecond-token\n")
    tls = files.tls if encrypted else {}
    plain = Security(ca=files.ca) if encrypted else Security()
    async with serving(token=TOKEN, token_file=file, **tls) as server:
        for token in (TOKEN, "first-token", "second-token"):
            assert await transmit(server, replace(plain, token=token)) == "<x>"
        with pytest.raises(AccessError, match="authorization: is missing"):
            await transmit(server, plain)
        for wrong in ("x", TOKEN[:-1], TOKEN + "x", "first"):
            with pytest.raises(AccessError, match="another token") as caught:
                await transmit(server, replace(plain, token=wrong))
            assert TOKEN not in str(caught.value)
        value = server.metrics.registry.get_sample_value
        assert value("genjscc_rejected_requests_total", {"reason": "token"}) == 5
        refused = {"method": "Transmit", "code": "UNAUTHENTICATED"}
        # A call is counted once its caller has its answer.
        await until(lambda: value("genjscc_requests_total", refused) == 5)


@pytest.mark.parametrize("header", ["", "Bearer", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN} x"])
async def test_headers_that_are_no_token(header: str) -> None:
    async with serving(token=TOKEN) as server:
        target = f"127.0.0.1:{server.port}"
        async with grpc.aio.insecure_channel(target) as connection:
            stub = channel_pb2_grpc.ChannelServiceStub(connection)
            good = await stub.Transmit(
                request_for("x"), metadata=(("authorization", f"bearer {TOKEN}"),)
            )
            assert answer_of(good) == "<x>"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Transmit(request_for("x"), metadata=(("authorization", header),))
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_without_a_token_health_is_all_there_is() -> None:
    async with serving(token=TOKEN) as server:
        target = f"127.0.0.1:{server.port}"
        async with grpc.aio.insecure_channel(target) as connection:
            health = health_pb2_grpc.HealthStub(connection)
            assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING
            stub = channel_pb2_grpc.ChannelServiceStub(connection)
            request = channel_pb2.TransmitStreamRequest(request=request_for("x"))
            reflection = reflection_pb2_grpc.ServerReflectionStub(connection)
            listing = reflection_pb2.ServerReflectionRequest(list_services="")
            refused = [
                stub.TransmitStream(iter([request])).read(),
                reflection.ServerReflectionInfo(iter([listing])).read(),
                connection.unary_unary("/genjscc.v1.ChannelService/Teleport")(b""),
                connection.unary_unary("/some.other.Service/Method")(b""),
            ]
            for call in refused:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call
                assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_the_unread_are_refused_without_being_read() -> None:
    # 32 MiB that the service's window does not hold: they could not even be sent.
    async with serving(token=TOKEN) as server:
        target = f"127.0.0.1:{server.port}"
        async with grpc.aio.insecure_channel(
            target, options=[("grpc.max_send_message_length", -1)]
        ) as connection:
            call = connection.unary_unary("/genjscc.v1.ChannelService/Transmit")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(bytes(32 * 1024 * 1024), timeout=100)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        labels = {"method": "Transmit"}
        value = server.metrics.registry.get_sample_value
        assert (value("genjscc_received_bytes_total", labels) or 0) == 0


def test_a_token_does_not_leave_the_machine_in_clear() -> None:
    here = ("127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/tmp/x", "127.0.0.1:1,127.0.0.2:2")
    there = ("10.0.0.1:1", "receiver:1", "dns:///receiver:1", "127.0.0.1:1,receiver:2")
    security = Security(token=TOKEN)
    for address in here:
        security.check("channel", address)
    for address in there:
        with pytest.raises(InvalidInputError, match="unencrypted to the channel"):
            security.check("channel", address)
        replace(security, token_in_clear=True).check("channel", address)
        replace(security, tls=True).check("channel", address)


def test_secrets_are_not_printed() -> None:
    assert TOKEN not in repr(Security(token=TOKEN))
    assert TOKEN not in repr(ServiceSettings(token=TOKEN))  # type: ignore[arg-type]


def test_security_from_the_environment(files: Files, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    certificate, key = files.client
    environment = {
        "GENJSCC_TLS_CA": str(files.ca),
        "GENJSCC_TLS_CLIENT_CERTIFICATE": str(certificate),
        "GENJSCC_TLS_CLIENT_KEY": str(key),
        "GENJSCC_TLS_SERVER_NAME": "jscc.test",
        "GENJSCC_TOKEN_FILE": str(file),
        "GENJSCC_TOKEN_IN_CLEAR": "1",
    }
    expected = Security(
        ca=files.ca,
        certificate=certificate,
        key=key,
        server_name="jscc.test",
        token=TOKEN,
        token_in_clear=True,
    )
    assert Security.from_environment(environment) == expected
    assert Security.from_environment({}) == Security()
    assert Security.from_environment({"GENJSCC_TLS": "true"}).encrypted
    with pytest.raises(InvalidInputError, match="key: is missing"):
        Security.from_environment({"GENJSCC_TLS_CLIENT_CERTIFICATE": "x"})
    with pytest.raises(InvalidInputError, match="cannot read"):
        Security.from_environment({"GENJSCC_TOKEN_FILE": "/nowhere"})
    with pytest.raises(InvalidInputError, match="token"):
        Security(token="two words")


async def test_settings_that_make_no_sense_are_told(files: Files, tmp_path: Path) -> None:
    certificate, key = files.server
    empty = tmp_path / "empty"
    empty.write_text("\n")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"tls_certificate": certificate}, "tls_key: is missing"),
        ({"tls_key": key}, "tls_certificate: is missing"),
        ({"tls_client_ca": files.ca}, "tls_certificate: is missing"),
        ({"tls_certificate": certificate, "tls_key": files.client[1]}, "no certificate and its"),
        ({"tls_certificate": empty, "tls_key": key}, "no certificate and its key"),
        ({"tls_certificate": tmp_path / "no", "tls_key": key}, "tls_certificate: cannot read"),
        (files.tls | {"tls_client_ca": empty}, "tls_client_ca"),
        ({"token_file": empty}, "holds no token"),
        ({"token_file": tmp_path / "no"}, "token_file: cannot read"),
        ({"token": "two words"}, "token: is empty or contains"),
        ({"token": ""}, "token: is empty or contains"),
    ]
    for settings, problem in cases:
        server = Server(fake_service(FakeEngine()), ServiceSettings(**settings))
        with pytest.raises(GenJSCCError, match=problem) as caught:
            await server.start()
        assert "two words" not in str(caught.value)
        await server.stop()


def test_settings_come_from_the_environment(
    files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, key = files.server
    for name, value in {
        "TLS_CERTIFICATE": certificate,
        "TLS_KEY": key,
        "TLS_CLIENT_CA": files.ca,
        "TOKEN": TOKEN,
        "HOST": "0.0.0.0",
    }.items():
        monkeypatch.setitem(os.environ, f"GENJSCC_{name}", str(value))
    settings = read_settings(ChannelSettings, "channel", [])
    assert (settings.tls_certificate, settings.tls_key) == (certificate, key)
    assert (settings.tls_client_ca, settings.host) == (files.ca, "0.0.0.0")
    assert settings.token is not None
    assert settings.token.get_secret_value() == TOKEN
    with pytest.raises(SystemExit):
        read_settings(ChannelSettings, "channel", ["--help"])
    help_text = capsys.readouterr().out
    assert "--tls-certificate" in help_text
    # A flag would be there for all to read in the list of processes.
    assert "--token " not in help_text


@pytest.mark.parametrize("flags", [["--token", "geheim"], ["--token=geheim"]])
def test_a_token_is_not_taken_as_a_flag(
    flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        read_settings(ChannelSettings, "channel", flags)
    assert caught.value.code == 2
    printed = capsys.readouterr().err
    assert "GENJSCC_TOKEN" in printed
    assert "--token-file" in printed
    assert "geheim" not in printed


@pytest.mark.parametrize(
    ("days", "problem"), [(-1, "certificate has ended"), (3, "ends soon"), (90, "")]
)
async def test_a_certificates_end_is_told_and_measured(
    days: int, problem: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    begin = end - timedelta(days=100)
    issued = trustme.CA().issue_cert("127.0.0.1", not_before=begin, not_after=end)
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    async with serving(tls_certificate=certificate, tls_key=key) as server:
        measured = server.metrics.certificate_end.labels(str(certificate))._value.get()
    assert measured == end.timestamp()
    warnings = [r.message for r in caplog.records if r.message.startswith("certificate")]
    assert len(warnings) == bool(problem)
    assert not problem or problem in warnings[0]


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
async def test_the_sdk_takes_no_proxy_that_it_was_not_told_of(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with serving(token=TOKEN) as server, tcp_proxy(server.port) as proxy:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        for asked in (False, True):  # never to this machine
            await transmit(server, Security(token=TOKEN, proxy=asked))
        assert proxy.connections == 0


def test_a_token_goes_through_a_proxy_with_tls_alone() -> None:
    there = "link.example.org:50051"
    for given in ({"token_in_clear": True}, {}):
        with pytest.raises(InvalidInputError, match="token: would travel unencrypted"):
            Security(token=TOKEN, proxy=True, **given).check("channel", there)
    Security(token=TOKEN, proxy=True, tls=True).check("channel", there)
    assert Security(proxy=True).uses_proxy(there)
    assert not Security().uses_proxy(there)
    assert not Security(proxy=True).uses_proxy("127.0.0.1:1,10.0.0.1:1")
    assert Security.from_environment({"GENJSCC_USE_PROXY": "1"}).proxy


def test_services_listen_on_this_machine_only_unless_told() -> None:
    assert ServiceSettings().host == "127.0.0.1"


async def test_an_open_door_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(host="0.0.0.0"):
        (warning,) = [r for r in caplog.records if r.message == "open to other machines"]
        assert (warning.tls, warning.token) == (False, False)  # type: ignore[attr-defined]


def test_links_take_security_and_say_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENJSCC_TOKEN", TOKEN)
    with Link(channel="10.0.0.1:1") as link, pytest.raises(InvalidInputError, match="unencrypted"):
        link.models()
    nonsense = Link(channel="nonsense", security=Security())
    with nonsense as link, pytest.raises(InvalidInputError, match="channel: got 'nonsense'"):
        link.models()
