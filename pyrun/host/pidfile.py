"""--pid-file: where the caller finds the pid of the container's first process."""

from __future__ import annotations

import posix

from pyrun.base import files, log
from pyrun.base.errors import Error, words


def write(path: str, pid: int) -> None:
    """The number without a newline, as callers parse it; complete or not there at all. Raises Error."""
    try:
        _check_replaceable(path)
        files.replace(path, str(pid).encode(), 0o644)
    except OSError as error:
        raise Error(f"--pid-file {path}: {words(error.errno)}") from None


def _check_replaceable(path: str) -> None:
    """A file takes the place of what is there: that must not be /dev/null."""
    try:
        kind = posix.lstat(path).st_mode & files.S_IFMT
    except FileNotFoundError:
        return
    if kind not in (files.S_IFREG, files.S_IFLNK):
        raise Error(f"--pid-file {path}: there is something else than a file")


def remove(path: str) -> None:
    try:
        files.remove(path)
    except OSError as error:
        log.warning(f"--pid-file {path} is left: {words(error.errno)}")
