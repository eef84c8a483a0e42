"""JSON as the runtime reads and writes it: configs, state files, what commands print."""

import posix

from pyrun._json import dumps as encode
from pyrun._json import loads as decode
from pyrun.errors import Error


def loads(text):
    """The value of a JSON text (bytes in UTF-8, or str). Strict RFC 8259; of duplicate keys the last one holds.

    Raises Error: `line L column C: what`.
    """
    try:
        return decode(text)
    except ValueError as fault:
        raise Error(str(fault)) from None


def dumps(value, indent=None):
    """JSON (str) as Go's json.Marshal writes it, or with indent (int, spaces) as json.MarshalIndent does; keys in the order given.

    File names that are not UTF-8 (surrogateescape) are written as lone surrogates, and loads() gives them back.
    """
    return encode(value, -1 if indent is None else indent).decode()


def read_bytes(path):
    """The content (bytes) of a file of any kind; OSError as posix gives it."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return read_fd(fd)
    finally:
        posix.close(fd)


def read_fd(fd):
    """The rest (bytes) of an open file; OSError as posix gives it."""
    parts = []
    while part := posix.read(fd, 65536):
        parts.append(part)
    return b"".join(parts)


def read(path):
    """The value in a JSON file. OSError where it cannot be read, Error where it is no JSON."""
    return loads(read_bytes(path))


def write_atomic(path, value, mode=0o600):
    """Makes `path` a compact JSON file of value, so that a reader finds the old content or the new, never a part."""
    temporary = f"{path}.{posix.getpid()}"
    fd = posix.open(temporary, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_NOFOLLOW | posix.O_CLOEXEC, mode)
    try:
        try:
            rest = encode(value)
            while rest:
                rest = rest[posix.write(fd, rest):]
        finally:
            posix.close(fd)
        posix.rename(temporary, path)
    except BaseException:
        try:
            posix.unlink(temporary)
        except FileNotFoundError:  # interrupted when it had its name already
            pass
        raise
