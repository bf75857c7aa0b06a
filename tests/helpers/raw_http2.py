# SPDX-License-Identifier: Apache-2.0
"""Hand-made HTTP/2 for requests that no gRPC client would send."""

from __future__ import annotations

import struct
from collections.abc import Sequence

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING = 0, 1, 3, 4, 6
END_STREAM, END_HEADERS = 1, 4
Headers = Sequence[tuple[str | bytes, bytes]]


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return an HTTP/2 frame."""
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes([kind, flags])
        + struct.pack(">I", stream)
        + payload
    )


def header_block(path: str | bytes, more: Headers = ()) -> bytes:
    """Return a call's headers, without compression and without a state between blocks."""
    block = b""
    for name, value in (
        (":method", b"POST"),
        (":scheme", b"http"),
        (":path", path.encode() if isinstance(path, str) else path),
        (":authority", b"localhost"),
        ("te", b"trailers"),
        ("content-type", b"application/grpc"),
        *more,
    ):
        key = name.encode() if isinstance(name, str) else name
        # HPACK: literal without indexing, new name, no Huffman code.
        block += b"\x00" + bytes([len(key)]) + key + bytes([len(value)]) + value
    return block


def opening() -> bytes:
    """What a client says first."""
    return PREFACE + frame(SETTINGS, 0, 0, b"")


def conversation(path: str | bytes, message: bytes, more: Headers = ()) -> bytes:
    """All that a client sends for one call: preface, settings, headers, data."""
    body = b"\x00" + struct.pack(">I", len(message)) + message
    parts = [opening(), frame(HEADERS, END_HEADERS, 1, header_block(path, more))]
    parts += [frame(DATA, 0, 1, body[i : i + 16_000]) for i in range(0, len(body), 16_000)]
    return b"".join([*parts, frame(DATA, END_STREAM, 1, b"")])


def frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """Kind, flags, stream and payload of each whole frame of what a server sent."""
    found, at = [], 0
    while at + 9 <= len(data):
        length = int.from_bytes(data[at : at + 3], "big")
        if at + 9 + length > len(data):
            break
        stream = int.from_bytes(data[at + 5 : at + 9], "big")
        found.append((data[at + 3], data[at + 4], stream, data[at + 9 : at + 9 + length]))
        at += 9 + length
    return found
