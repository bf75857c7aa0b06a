# SPDX-License-Identifier: Apache-2.0
"""Addresses of services, in text form and in gRPC's form."""

from __future__ import annotations

import ipaddress
import socket

from genjscc.errors import InvalidInputError, UnavailableError

_SCHEMES = ("dns:", "unix:", "unix-abstract:", "ipv4:", "ipv6:", "xds:")


def is_loopback(host: str) -> bool:
    """Return whether a host can be reached only from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def bare_host(host: str) -> str:
    """Return a host in the form for sockets: an IPv6 address without brackets."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def joined(host: str, port: int) -> str:
    """Join host and port, with an IPv6 address in brackets."""
    host = bare_host(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def hosts_of(address: str) -> list[str]:
    """Return the hosts of "host:port" or "host:port,host:port"; none for a Unix socket."""
    if address.startswith("unix"):
        return []
    for scheme in _SCHEMES:
        address = address.removeprefix(scheme)
    return [part.rpartition(":")[0].lstrip("/") for part in address.split(",")]


def grpc_target(address: str, *, field: str) -> str:
    """Return the gRPC target of a service's address.

    One name may stand for several addresses in the DNS, which gRPC looks up again when
    connections fail. Several addresses with commas are looked up here, once.

    Args:
        address: "host:port", several of them with commas, or a target with its scheme.
        field: the name for errors.

    Raises:
        InvalidInputError: not an address.
        UnavailableError: a name of several cannot be looked up.
    """
    if address.startswith(_SCHEMES):
        return address
    parts = [part.strip() for part in address.split(",")]
    for part in parts:
        _check_host_port(part, field)
    if len(parts) == 1:
        return parts[0]
    found = [_look_up(part, field) for part in parts]
    family = socket.AF_INET if all(socket.AF_INET in one for one in found) else socket.AF_INET6
    if not all(family in one for one in found):
        raise InvalidInputError(
            field, f"got {address!r}; several addresses must be all of IPv4 or all of IPv6"
        )
    scheme = "ipv4" if family == socket.AF_INET else "ipv6"
    return f"{scheme}:" + ",".join(one[family] for one in found)


def _check_host_port(part: str, field: str) -> None:
    """Raise InvalidInputError for a wrong host:port, with a suggestion if it is nearly right."""
    host, _, port = part.rpartition(":")
    right = "must be host:port, or several of them with commas"
    if "://" in part:
        raise InvalidInputError(
            field, f"got {part!r}; {right}: without '{part.partition('://')[0]}://'"
        )
    if _is_ipv6(part) or (":" in host and not host.startswith("[")):
        known = joined(host, int(port)) if _is_ipv6(host) and port.isdecimal() else "[::1]:50051"
        raise InvalidInputError(
            field, f"got {part!r}; {right}: an IPv6 address goes in brackets, as {known}"
        )
    wrong_port = not port.isascii() or not port.isdigit() or int(port) > 65535
    bracketed = host.startswith("[")
    if not host or wrong_port or "/" in host or bracketed != _is_ipv6(bare_host(host)):
        raise InvalidInputError(field, f"got {part!r}; {right}")


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _look_up(part: str, field: str) -> dict[int, str]:
    """Look up an address and port for each address family."""
    host, _, port = part.rpartition(":")
    try:
        known = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        raise UnavailableError(f"{field} at {part}: {error.strerror}") from error
    found: dict[int, str] = {}
    for family, _, _, _, where in known:
        literal = f"[{where[0]}]" if family == socket.AF_INET6 else where[0]
        found.setdefault(family, f"{literal}:{port}")
    return found
