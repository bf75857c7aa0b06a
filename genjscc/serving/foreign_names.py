# SPDX-License-Identifier: Apache-2.0
"""Names of methods that are not UTF-8, which one caller sends and all would suffer from.

grpcio's asyncio loop that accepts calls decodes the method's name strictly, in compiled code, and
ends with the error: nothing there can be set, overridden or caught. What Python does offer is to
replace the error handler named "strict". The one here is the ordinary one, but for bytes that are
decoded straight from the event loop, where only compiled code can be the caller: they get
replacement characters, and the call is one of an unknown method.
"""

from __future__ import annotations

import asyncio
import codecs
import sys

_strict = codecs.strict_errors
_FROM_THE_LOOP = asyncio.Handle._run.__code__


def _handle(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeDecodeError) and sys._getframe(1).f_code is _FROM_THE_LOOP:
        return "\ufffd", error.end
    return _strict(error)


def tolerate_foreign_names() -> None:
    """From now on such a name ends the call that it came with, and nothing else."""
    codecs.register_error("strict", _handle)
