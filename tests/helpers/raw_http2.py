# SPDX-License-Identifier: Apache-2.0
"""Hand-made HTTP/2 for requests that no gRPC client would send."""

from __future__ import annotations

import struct


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return an HTTP/2 frame."""
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes([kind, flags])
        + struct.pack(">I", stream)
        + payload
    )


def conversation(path: str | bytes, message: bytes) -> bytes:
    """Return all bytes that a client sends for one call: preface, settings, headers, data."""
    headers = b""
    for name, value in (
        (":method", b"POST"),
        (":scheme", b"http"),
        (":path", path.encode() if isinstance(path, str) else path),
        (":authority", b"localhost"),
        ("te", b"trailers"),
        ("content-type", b"application/grpc"),
    ):
        # HPACK: literal without indexing, new name, no Huffman code.
        headers += b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value
    body = b"\x00" + struct.pack(">I", len(message)) + message
    parts = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frame(4, 0, 0, b""), frame(1, 4, 1, headers)]
    parts += [frame(0, 0, 1, body[i : i + 16_000]) for i in range(0, len(body), 16_000)]
    return b"".join([*parts, frame(0, 1, 1, b"")])
