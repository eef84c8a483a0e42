"""What a command prints on stdout, also while only Python's core is there."""

import posix

from pyrun.base.errors import Error, words


def write(text):
    """Writes text (str) to stdout, all of it. A reader that has gone away ends the command with 141, as SIGPIPE would."""
    data = text.encode(errors="surrogateescape")
    try:
        while data:
            data = data[posix.write(1, data):]
    except BrokenPipeError:
        raise SystemExit(141) from None
    except OSError as fault:
        raise Error(f"write to stdout: {words(fault.errno)}") from None
