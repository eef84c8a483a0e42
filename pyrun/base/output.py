"""What a command prints on stdout."""

from __future__ import annotations

from pyrun.base.errors import Error, words
from pyrun.base.files import write_all


def write(text: str) -> None:
    """Writes text to stdout, all of it. A reader that has gone away ends the command with 141, as SIGPIPE would."""
    data = text.encode(errors="surrogateescape")
    try:
        write_all(1, data)
    except BrokenPipeError:
        raise SystemExit(141) from None
    except OSError as fault:
        raise Error(f"write to stdout: {words(fault.errno)}") from None
