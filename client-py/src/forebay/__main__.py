"""`python -m forebay ...` is the `forebay` command."""

from __future__ import annotations

import os
import sys

from ._daemon import find_binary
from .errors import NotFoundError


def main() -> None:
    """Become the bundled binary."""
    try:
        binary = find_binary()
    except NotFoundError as error:
        sys.exit(f"error: {error}")
    os.execv(binary, [binary, *sys.argv[1:]])


if __name__ == "__main__":
    main()
