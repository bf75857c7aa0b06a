# SPDX-License-Identifier: Apache-2.0
"""Expiry of certificates. Python's `ssl` reads it of authorities' and peers' certificates only."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _UTC_TIME, _EXPLICIT_VERSION = 0x30, 0x17, 0xA0
# Serial number, algorithm and issuer, which come before the validity.
_BEFORE_VALIDITY = 3
# UTCTime has two digits of the year: those from 50 on are of the century before (RFC 5280).
_CENTURY = 50


def end_of(path: Path) -> float | None:
    """Return the Unix time at which the first certificate of a PEM file expires.

    None: there is none that can be read; whether it is good is for others to say.
    """
    ends = []
    for pem in _PEM.findall(path.read_text(errors="replace")):
        try:
            ends.append(_not_after(ssl.PEM_cert_to_DER_cert(pem)))
        except (ValueError, IndexError, StopIteration):
            continue
    return min(ends, default=None)


def _not_after(der: bytes) -> float:
    _, certificate = next(_elements(der))
    _, signed = next(_elements(certificate))
    fields = _elements(signed)
    tag, _ = next(fields)
    # The version is optional; then the serial number has been read.
    for _ in range(_BEFORE_VALIDITY if tag == _EXPLICIT_VERSION else _BEFORE_VALIDITY - 1):
        next(fields)
    tag, validity = next(fields)
    if tag != _SEQUENCE:
        raise ValueError("the validity is not where it should be")
    times = _elements(validity)
    next(times)
    tag, text = next(times)
    return _moment(tag, text.decode("ascii"))


def _moment(tag: int, text: str) -> float:
    if tag == _UTC_TIME:
        text = ("19" if int(text[:2]) >= _CENTURY else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each element of a DER encoding."""
    at = 0
    while at < len(der):
        tag, length = der[at], der[at + 1]
        at += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(der[at : at + count], "big")
            at += count
        yield tag, der[at : at + length]
        at += length
