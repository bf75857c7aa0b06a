# SPDX-License-Identifier: Apache-2.0
"""TLS and token settings of a client."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from genjscc.addresses import hosts_of, is_loopback
from genjscc.errors import InvalidInputError, checked_kind

_TRUE = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True)
class Security:
    """TLS and token of a link, shared by its three services.

    Attributes:
        tls: encrypt, and trust the authorities that gRPC ships; implied by `ca` and
            `certificate`.
        ca: PEM file of the authorities to trust instead.
        certificate: PEM file of the client's own certificate, for services that want one.
        key: PEM file of its private key.
        server_name: name that the services' certificates must hold, where it is not the host of
            the address.
        token: that the services want.
        token_in_clear: send the token without TLS to other machines too. Whoever sees the
            traffic can then use it: for networks that encrypt by themselves.
        proxy: go through the proxy that http_proxy, https_proxy or grpc_proxy names; never to
            this machine, and never with a token that is not encrypted.
    """

    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""
    token: str = field(default="", repr=False)
    token_in_clear: bool = False
    proxy: bool = False

    def __post_init__(self) -> None:
        self._check_types()
        if (self.certificate is None) != (self.key is None):
            missing = "certificate" if self.certificate is None else "key"
            raise InvalidInputError(missing, "is missing; certificate and key go together")
        if not (self.token.isascii() and (self.token.isprintable() and " " not in self.token)):
            raise InvalidInputError(
                "token", "holds other characters than printable ASCII without spaces"
            )

    def _check_types(self) -> None:
        for name in ("tls", "token_in_clear", "proxy"):
            checked_kind(getattr(self, name), bool, name)
        for name in ("server_name", "token"):
            checked_kind(getattr(self, name), str, name)
        for name in ("ca", "certificate", "key"):
            given = checked_kind(getattr(self, name), (str, Path, type(None)), name)
            if isinstance(given, str):
                object.__setattr__(self, name, Path(given))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Security:
        """Read the settings from GENJSCC_TLS, _TLS_CA, _TLS_CLIENT_CERTIFICATE, _TLS_CLIENT_KEY,
        _TLS_SERVER_NAME, _TOKEN, _TOKEN_FILE (its first line), _TOKEN_IN_CLEAR and _USE_PROXY.

        Raises:
            InvalidInputError: they contradict each other, or a file cannot be read.
        """

        def text(name: str) -> str:
            return environment.get(f"GENJSCC_{name}", "")

        def path(name: str) -> Path | None:
            return Path(text(name)) if text(name) else None

        token, file = text("TOKEN"), path("TOKEN_FILE")
        if not token and file is not None:
            lines = _read("GENJSCC_TOKEN_FILE", file).decode(errors="replace").split()
            if not lines:
                raise InvalidInputError("GENJSCC_TOKEN_FILE", f"{file} holds no token")
            token = lines[0]
        return cls(
            tls=text("TLS").lower() in _TRUE,
            ca=path("TLS_CA"),
            certificate=path("TLS_CLIENT_CERTIFICATE"),
            key=path("TLS_CLIENT_KEY"),
            server_name=text("TLS_SERVER_NAME"),
            token=token,
            token_in_clear=text("TOKEN_IN_CLEAR").lower() in _TRUE,
            proxy=text("USE_PROXY").lower() in _TRUE,
        )

    @property
    def encrypted(self) -> bool:
        """Whether the link uses TLS."""
        return self.tls or self.ca is not None or self.certificate is not None

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Return gRPC credentials; None without TLS. Raises InvalidInputError if a file is
        unreadable.
        """
        if not self.encrypted:
            return None
        return grpc.ssl_channel_credentials(
            None if self.ca is None else _read("ca", self.ca),
            None if self.key is None else _read("key", self.key),
            None if self.certificate is None else _read("certificate", self.certificate),
        )

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata of each call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def uses_proxy(self, address: str) -> bool:
        """Return whether connections to an address may use a proxy."""
        hosts = hosts_of(address)
        return self.proxy and bool(hosts) and not any(is_loopback(host) for host in hosts)

    def check(self, role: str, address: str) -> None:
        """Raise InvalidInputError if the token would be sent unencrypted to another machine."""
        if not self.token or self.encrypted:
            return
        if self.uses_proxy(address):
            raise InvalidInputError(
                "token",
                f"would travel unencrypted through a proxy to the {role} at {address}; use TLS, "
                "or leave GENJSCC_USE_PROXY out",
            )
        if self.token_in_clear:
            return
        for host in hosts_of(address):
            if not is_loopback(host):
                raise InvalidInputError(
                    "token",
                    f"would travel unencrypted to the {role} at {address}; use TLS, or "
                    "GENJSCC_TOKEN_IN_CLEAR=1 where the network encrypts by itself",
                )


def _read(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(name, f"cannot read {path}: {error.strerror}") from error
