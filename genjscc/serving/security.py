# SPDX-License-Identifier: Apache-2.0
"""Access control: TLS, client certificates and bearer tokens.

The health service answers everybody who gets through TLS: load balancers and probes carry no
token. Everything else, reflection included, needs one where tokens are set.
"""

from __future__ import annotations

import hmac
import ssl
from collections.abc import Iterable
from pathlib import Path

import grpc

from genjscc.errors import AccessError, InvalidInputError
from genjscc.serving.settings import ServiceSettings

AUTHORIZATION = "authorization"
_SCHEME = b"bearer "
_OPEN = "/grpc.health.v1.Health/"


def server_credentials(settings: ServiceSettings) -> grpc.ServerCredentials | None:
    """Return the TLS credentials of the settings; None without TLS.

    Raises:
        InvalidInputError: a file is missing or is not what it should be.
    """
    certificate, key, client_ca = (
        settings.tls_certificate,
        settings.tls_key,
        settings.tls_client_ca,
    )
    if certificate is None and key is None and client_ca is None:
        return None
    if certificate is None:
        raise InvalidInputError("tls_certificate", "is missing; TLS needs a certificate and a key")
    if key is None:
        raise InvalidInputError("tls_key", "is missing; TLS needs a certificate and a key")
    pair = (_read("tls_key", key), _read("tls_certificate", certificate))
    roots = None if client_ca is None else _read("tls_client_ca", client_ca)
    # gRPC would tell of a wrong file at the first handshake, and only the client.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # The empty password: a key that is locked must not ask a terminal for one.
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise InvalidInputError(
            "tls_certificate", f"{certificate} and {key} are no certificate and its key: {error}"
        ) from error
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except ssl.SSLError as error:
            raise InvalidInputError(
                "tls_client_ca", f"{client_ca} holds no certificate: {error}"
            ) from error
    return grpc.ssl_server_credentials(
        [pair], root_certificates=roots, require_client_auth=roots is not None
    )


def accepted_tokens(settings: ServiceSettings) -> tuple[bytes, ...]:
    """Return the accepted tokens; empty if no token is required.

    Raises:
        InvalidInputError: a file without tokens, or a token that no header can carry.
    """
    tokens: list[str] = []
    if settings.token is not None:
        tokens.append(settings.token.get_secret_value())
    if settings.token_file is not None:
        lines = _read("token_file", settings.token_file).decode(errors="replace").splitlines()
        given = [line.strip() for line in lines if line.strip()]
        if not given:
            raise InvalidInputError("token_file", f"{settings.token_file} holds no token")
        tokens += given
    for token in tokens:
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            # Never the token itself: this text goes to a log.
            raise InvalidInputError(
                "token", "is empty or holds other characters than printable ASCII without spaces"
            )
    return tuple(token.encode() for token in tokens)


class TokenGuard:
    """Check of the token of each call.

    Args:
        tokens: that are accepted; empty: nobody needs one.
    """

    def __init__(self, tokens: tuple[bytes, ...]) -> None:
        self._tokens = tokens

    def check(self, method: str, metadata: Iterable[tuple[str, str | bytes]] | None) -> None:
        """Raise AccessError if a call is not permitted."""
        if not self._tokens or method.startswith(_OPEN):
            return
        given = dict(metadata or ()).get(AUTHORIZATION)
        if given is None:
            raise AccessError("authorization: is missing; this service wants 'Bearer TOKEN'")
        if not self._accepts(given):
            raise AccessError("authorization: got another token than this service accepts")

    def _accepts(self, header: str | bytes) -> bool:
        given = header.encode() if isinstance(header, str) else header
        if given[: len(_SCHEME)].lower() != _SCHEME:
            return False
        token = given[len(_SCHEME) :].strip()
        # All are compared, in constant time: how long it takes tells nothing about any.
        matches = [hmac.compare_digest(token, accepted) for accepted in self._tokens]
        return any(matches)


def _read(field: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(field, f"cannot read {path}: {error.strerror}") from error
