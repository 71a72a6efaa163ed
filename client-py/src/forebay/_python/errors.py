"""What goes wrong in workers, as the training sees it."""

from __future__ import annotations

import pickle
from typing import Any

from ..errors import ForebayError
from .shape import MismatchError
from .tasks import Failed

__all__ = ["RemoteTraceback", "WorkerError", "raised"]


class WorkerError(ForebayError, RuntimeError):
    """A worker process could not be started, died again and again, or raised what no other process can raise."""


class RemoteTraceback(Exception):  # noqa: N818 - it is shown as a cause and never caught
    """Where in the worker an exception came from: the cause of what `next()` raises."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def raised(failed: Failed, where: str) -> BaseException:
    """Give the exception of the user's code, of its own type where that can be, with the worker's traceback as cause.

    `where`: the sample and the worker; a note of the exception, from Python 3.11 on.
    """
    error: Any = None
    if failed.error:
        try:
            error = pickle.loads(failed.error)
        except Exception:
            error = None
    if not isinstance(error, Exception):
        error = WorkerError(where, causes=[failed.words])
    if isinstance(error, MismatchError):
        error.object = ", of ".join(filter(None, (error.object, where)))
    elif hasattr(error, "add_note"):  # Python 3.11
        error.add_note(where)  # pyright: ignore - the types are those of 3.9
    error.__cause__ = RemoteTraceback(f"{where}\n{failed.trace}")
    return error
