# SPDX-License-Identifier: Apache-2.0
"""Error messages as one sentence for the page."""

from __future__ import annotations

import re

from genjscc.errors import DeadlineError, GenJSCCError, InvalidInputError, UnavailableError

_AT = re.compile(r"(transmitter|channel|receiver) at (\S+?)(?=: | is )")


def sentence(error: GenJSCCError) -> str:
    """Return a sentence for a visitor, who cannot see the log."""
    text = str(error)
    where = _AT.match(text)
    if where and isinstance(error, UnavailableError):
        return f"The {where[1]} at {where[2]} does not answer; this page tries again by itself."
    if where and isinstance(error, DeadlineError):
        return f"The {where[1]} at {where[2]} took too long; it may be busy."
    if isinstance(error, InvalidInputError):
        text = text.removeprefix(f"{error.field}: ")
        return f"{error.field.partition('.')[0].capitalize()}: {text}."
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
