"""`python -m forebay ...` is the `forebay` command, and looks into torch checkpoints for `forebay state`."""

from __future__ import annotations

import os
import sys

from ._daemon import find_binary
from .errors import ForebayError


def main() -> None:
    """Become the bundled binary."""
    arguments = sys.argv[1:]
    try:
        binary = find_binary()
        if arguments[:1] == ["state"]:
            from ._checkpoint import with_states

            arguments = with_states(arguments)
    except ForebayError as error:
        sys.exit(f"error: {error}")
    os.execv(binary, [binary, *arguments])


if __name__ == "__main__":
    main()
