# SPDX-License-Identifier: Apache-2.0
"""Errors that GenJSCC raises deliberately.

    GenJSCCError
    ├── InvalidInputError     a field of the input is wrong           INVALID_ARGUMENT
    ├── ModelNotFoundError    no such model, or not at that rate      NOT_FOUND
    ├── WrongPairError        symbols of another encoder              FAILED_PRECONDITION
    ├── OverloadedError       a bounded resource is full              RESOURCE_EXHAUSTED
    ├── UnavailableError      not reachable, or shutting down         UNAVAILABLE
    ├── DeadlineError         the time given has passed               DEADLINE_EXCEEDED
    ├── CancelledCallError    the caller gave up                      CANCELLED
    ├── UnsupportedError      known, but not offered here             UNIMPLEMENTED
    ├── AccessError           no or wrong credentials                 UNAUTHENTICATED
    ├── RemoteError           the service failed                      INTERNAL
    ├── BundleError           a model on disk is broken or unsafe     (local)
    │   └── DigestError       a file is not the one that was declared (local)
    ├── DownloadError         a model cannot be fetched or published  (local)
    ├── DivergedError         a training's numbers are none any more  (local)
    └── MissingExtraError     an optional package is not installed    (local)

The same classes are raised by the local code, turned into a gRPC status by the services and
turned back by the client: `except InvalidInputError` works the same for local and remote calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from reprlib import Repr
from typing import TYPE_CHECKING, ClassVar, TypeVar

if TYPE_CHECKING:
    from pydantic import ValidationError

T = TypeVar("T")

_QUOTE = Repr()
_QUOTE.maxstring = _QUOTE.maxother = 100


class GenJSCCError(Exception):
    """Base of all errors; `code` is the gRPC status code (number and name)."""

    code: ClassVar[tuple[int, str]] = (13, "INTERNAL")


class InvalidInputError(GenJSCCError, ValueError):
    """An invalid field. The text names the field, its value and the valid values."""

    code = (3, "INVALID_ARGUMENT")

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class ModelNotFoundError(GenJSCCError):
    """The model, or its bandwidth ratio, does not exist here."""

    code = (5, "NOT_FOUND")


class WrongPairError(GenJSCCError):
    """The symbols come from an encoder that the decoder was not trained with."""

    code = (9, "FAILED_PRECONDITION")


class OverloadedError(GenJSCCError):
    """A bounded resource is full; try again later.

    Attributes:
        retry_after_s: seconds after which a new attempt makes sense; None: unknown.
    """

    code = (8, "RESOURCE_EXHAUSTED")

    def __init__(self, problem: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(problem)
        self.retry_after_s = retry_after_s


class UnavailableError(GenJSCCError):
    """The service cannot be reached or is shutting down."""

    code = (14, "UNAVAILABLE")


class DeadlineError(GenJSCCError):
    """The deadline of the call has passed."""

    code = (4, "DEADLINE_EXCEEDED")


class CancelledCallError(GenJSCCError):
    """The call was cancelled by its caller."""

    code = (1, "CANCELLED")


class UnsupportedError(GenJSCCError):
    """The request is valid, but this service does not support it."""

    code = (12, "UNIMPLEMENTED")


class AccessError(GenJSCCError):
    """The credentials are missing or wrong."""

    code = (16, "UNAUTHENTICATED")


class RemoteError(GenJSCCError):
    """An internal error of the service, whose log has the details."""


class BundleError(GenJSCCError):
    """A model on disk is incomplete, altered or not safe to load."""


class DigestError(BundleError):
    """A file of a model is not the one that was declared: its SHA-256 differs."""


class DownloadError(GenJSCCError):
    """A published model cannot be fetched, or a model cannot be published."""


class DivergedError(GenJSCCError):
    """Training has produced values that are not finite; its last checkpoint is older."""


class MissingExtraError(GenJSCCError):
    """An optional package is missing; the text names the extra to install."""


@contextmanager
def needs(extra: str, what: str, *, otherwise: str = "") -> Iterator[None]:
    """Turn a failed import inside this context into an error that names the extra to install.

    Args:
        extra: optional dependencies of the package, as in `pip install 'genjscc[EXTRA]'`.
        what: subject of the message.
        otherwise: text after the advice.

    Raises:
        MissingExtraError: an import inside failed.
    """
    try:
        yield
    except ImportError as error:
        advice = f"pip install 'genjscc[{extra}]'"
        raise MissingExtraError(f"{what} needs {error.name!r}: {advice}{otherwise}") from error


_BY_CODE: dict[int, type[GenJSCCError]] = {
    cls.code[0]: cls
    for cls in (
        ModelNotFoundError,
        WrongPairError,
        OverloadedError,
        UnavailableError,
        DeadlineError,
        CancelledCallError,
        UnsupportedError,
        AccessError,
    )
}


def quoted(value: object) -> str:
    """Quote an untrusted value for an error text, like repr(), with long values shortened."""
    return _QUOTE.repr(value)


def checked_kind(value: T, kinds: type | tuple[type, ...], field: str) -> T:
    """Return a value of one of these types. Raises InvalidInputError for others and classes."""
    if isinstance(value, kinds):
        return value
    wanted = kinds if isinstance(kinds, tuple) else (kinds,)
    names = " or ".join("None" if kind is type(None) else kind.__name__ for kind in wanted)
    got = f"the class {value.__name__} itself" if isinstance(value, type) else quoted(value)
    raise InvalidInputError(field, f"got {got}; must be of type {names}")


def error_from_status(code: int, message: str) -> GenJSCCError:
    """Return the error of a gRPC status; codes without a class become RemoteError."""
    if code == InvalidInputError.code[0]:
        field, _, problem = message.partition(": ")
        return InvalidInputError(field, problem) if problem else InvalidInputError("request", field)
    return _BY_CODE.get(code, RemoteError)(message)


def first_problem(error: ValidationError) -> str:
    """Describe the first problem of a failed validation as "path.to.field: message"."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
