"""What can go wrong, by what the caller should do: the error kinds of the wire as exceptions.

Each prints what failed, the chain of causes, and a hint. Those with a natural counterpart in Python derive
from it too, so `except FileNotFoundError` and `except ValueError` work as one expects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

__all__ = [
    "ChangedError",
    "ConnectionLostError",
    "CorruptError",
    "DaemonError",
    "DeniedError",
    "DeviceError",
    "ForebayError",
    "InternalError",
    "InvalidError",
    "NotFoundError",
    "ProtocolError",
    "StateError",
    "UnavailableError",
    "UnimplementedError",
    "from_wire",
]


class ForebayError(Exception):
    """Base of all of forebay's errors.

    Attributes: `kind` one of the wire's error kinds in lower case, `message` what failed, `causes` the chain
    (outermost first), `hint` what to do (may be empty), `object` the sample's key or the path to blame.
    """

    kind: str = "internal"

    def __init__(self, message: str, *, causes: Sequence[str] = (), hint: str = "", object: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.causes = tuple(causes)
        self.hint = hint
        self.object = object

    def __str__(self) -> str:
        text = ": ".join((self.message, *self.causes))
        if self.object and self.object not in text:
            text += f" [{self.object}]"
        return f"{text}\nhint: {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.causes, self.hint, self.object)


class InvalidError(ForebayError, ValueError):
    """The request is wrong: change it."""

    kind = "invalid"


class StateError(InvalidError):
    """A saved state does not belong to this job; the message names the difference and the cure."""


class NotFoundError(ForebayError, FileNotFoundError):
    """Something named is not there."""

    kind = "not_found"


class UnavailableError(ForebayError, ConnectionError):
    """Storage or a daemon does not answer now: ask again, maybe another daemon."""

    kind = "unavailable"


class DaemonError(UnavailableError):
    """The daemon could not be started or reached."""


class ConnectionLostError(UnavailableError):
    """The daemon went away; the session goes on with another one before a user sees this."""


class CorruptError(ForebayError, ValueError):
    """The data itself is damaged: mend it, or choose `on_bad_sample="substitute"` or `"mask"`."""

    kind = "corrupt"


class InternalError(ForebayError, RuntimeError):
    """A defect of forebay: report it."""

    kind = "internal"


class ProtocolError(InternalError):
    """A peer sent what docs/wire.md does not allow."""


class UnimplementedError(ForebayError, NotImplementedError):
    """The daemon does not serve what was asked for; the message names it."""

    kind = "unimplemented"


class DeniedError(ForebayError, PermissionError):
    """The caller's uid and gid may not."""

    kind = "denied"


class DeviceError(ForebayError, RuntimeError):
    """The GPU, its driver or the framework's build for it does not do what was asked; the daemon goes on."""

    kind = "unavailable"


class ChangedError(ForebayError, RuntimeError):
    """The data is not what the snapshot describes."""

    kind = "changed"


_KINDS: dict[str, type[ForebayError]] = {
    "ERROR_KIND_INVALID": InvalidError,
    "ERROR_KIND_NOT_FOUND": NotFoundError,
    "ERROR_KIND_UNAVAILABLE": UnavailableError,
    "ERROR_KIND_CORRUPT": CorruptError,
    "ERROR_KIND_INTERNAL": InternalError,
    "ERROR_KIND_UNIMPLEMENTED": UnimplementedError,
    "ERROR_KIND_DENIED": DeniedError,
    "ERROR_KIND_CHANGED": ChangedError,
}


def from_wire(error: Mapping[str, Any]) -> ForebayError:
    """Turn a `forebay.v1.Error` in its JSON mapping into the exception of its kind."""
    causes = cast("list[object]", error.get("causes", ()))
    return _KINDS.get(str(error.get("kind", "")), InternalError)(
        str(error.get("message", "")) or "the daemon gave an error without a message",
        causes=[str(cause) for cause in causes],
        hint=str(error.get("hint", "")),
        object=str(error.get("object", "")),
    )


def _rebuild(cls: type[ForebayError], message: str, causes: tuple[str, ...], hint: str, object: str) -> ForebayError:
    return cls(message, causes=causes, hint=hint, object=object)
