# SPDX-License-Identifier: Apache-2.0
"""Estimate of the cost of parsing a message, from its bytes.

A few bytes on the wire can become a message object or a number of eight bytes each: 64 MiB of them
take seconds and gigabytes. No request of this protocol needs many fields, and of its fields
only those of type `bytes` are long.
"""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from genjscc.errors import InvalidInputError

MOST_FIELDS = 4096
LONGEST_FIELD = 64 * 1024
"""Bytes of a text, or of a repeated number; fields of type `bytes` have limits of their own."""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT = 10


class _MalformedError(Exception):
    """Error of a message that the parser would refuse as well."""


def check_outline(data: bytes, message: Descriptor, *, field: str = "request") -> None:
    """Check number and sizes of the fields of an untrusted message.

    Args:
        data: the message.
        message: its type.
        field: its name for errors.

    Raises:
        InvalidInputError: it has too many fields, too long ones, or is not such a message.
    """
    try:
        _Walk(data, field).message(0, len(data), message)
    except _MalformedError:
        raise InvalidInputError(
            field, f"got {len(data)} bytes that are not a message of this call"
        ) from None


class _Walk:
    """Walk over one message; the content of long fields is skipped."""

    def __init__(self, data: bytes, field: str) -> None:
        self._data, self._field = data, field
        self._fields = 0

    def message(self, at: int, end: int, kind: Descriptor) -> None:
        """Walk over the fields between two positions."""
        while at < end:
            self._fields += 1
            if self._fields > MOST_FIELDS:
                raise InvalidInputError(
                    self._field, f"got more than {MOST_FIELDS} fields in {len(self._data)} bytes"
                )
            tag, at = self._varint(at, end)
            at = self._value(kind.fields_by_number.get(tag >> 3), tag & 7, at, end)

    def _value(self, field: FieldDescriptor | None, wire_type: int, at: int, end: int) -> int:
        """Return the position after a field's value."""
        if wire_type == _VARINT:
            return self._varint(at, end)[1]
        if wire_type in _WIDTHS:
            return _within(at + _WIDTHS[wire_type], end)
        if wire_type != _LENGTH:  # groups: there is none in this protocol
            raise _MalformedError
        length, at = self._varint(at, end)
        after = _within(at + length, end)
        if field is None or field.type == FieldDescriptor.TYPE_BYTES:
            return after  # kept as it is
        if field.message_type is not None:
            self.message(at, after, field.message_type)
        elif length > LONGEST_FIELD:
            raise InvalidInputError(
                self._field,
                f"got {length} bytes in {field.name!r}; must be at most {LONGEST_FIELD}",
            )
        return after

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """Return a number and the position after it."""
        value = 0
        for shift, byte in enumerate(self._data[at : min(at + _LONGEST_VARINT, end)]):
            value |= (byte & 0x7F) << (7 * shift)
            if byte < 0x80:
                return value, at + shift + 1
        raise _MalformedError


def _within(at: int, end: int) -> int:
    if at > end:
        raise _MalformedError
    return at
