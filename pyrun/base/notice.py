"""A dim line on the terminal of whoever waits for us: what takes so long. It goes when that has happened."""

from __future__ import annotations

import posix
import time

from pyrun._native import lib
from pyrun.base import log
from pyrun.base.errors import visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

PAUSE = 1000  # ms between two looks of the line
DIM, PLAIN, CLEAR = "\x1b[2m", "\x1b[0m", "\r\x1b[K"  # console_codes(4)
WIDTH = 80


def during(wait: Callable[[float | None], T], what: str, limit: float | None, since: float) -> T:
    """wait(ms), as processes.patient(), of what takes longer than a second already."""
    if not wanted():
        return wait(limit)
    end = time.monotonic() + limit / 1000 if limit is not None else None
    try:
        while True:
            show(f"{what} for {time.monotonic() - since:.0f} s")
            left = PAUSE if end is None else max(0, (end - time.monotonic()) * 1000)
            found = wait(min(left, PAUSE))
            if found or left < PAUSE:
                return found
    finally:
        write(CLEAR)


def wanted() -> bool:
    """Whether stderr is a terminal that a person looks at, who wants no plain text, and no log takes our messages."""
    environ = posix.environ
    return posix.isatty(2) and not log.to_file() and not environ.get(b"NO_COLOR") and environ.get(b"TERM", b"dumb") != b"dumb"


def show(text: str) -> None:
    """One line: a longer one could not be cleared."""
    size = lib.native_tty_get_size(2)
    width = (size & 0xFFFF if size > 0 else 0) or WIDTH
    write(f"{CLEAR}{DIM}{visible(text)[: width - 1]}{PLAIN}")


def write(text: str) -> None:
    try:
        posix.write(2, text.encode(errors="replace"))
    except OSError:  # the terminal has gone: so has whoever looked at it
        pass
