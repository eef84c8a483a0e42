"""How far the layers are unpacked, in a line of the terminal; nowhere else."""

from __future__ import annotations

import posix
import time

from pyrun._native import lib
from pyrun.base import files

EVERY = 0.1  # seconds
PLAIN = 80  # columns, of a terminal that does not say


class Progress:
    """A context. total: bytes of the layers' files."""

    def __init__(self, total: int, fd: int = 2) -> None:
        self.total, self.fd, self.done, self.next, self.shown = total, fd, 0, 0.0, posix.isatty(fd)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._write("\r\033[K")

    def add(self, size: int) -> None:
        self.done += size
        if self.shown and (now := time.monotonic()) >= self.next:
            self.next = now + EVERY
            self._write("\r" + self.line() + "\033[K")

    def line(self) -> str:
        size = lib.native_tty_get_size(self.fd)
        columns = (size & 0xFFFF if size > 0 else 0) or PLAIN
        part = min(1.0, self.done / self.total) if self.total else 1.0
        words = f" {part:4.0%} of {self.total / 1e6:.1f} MB"
        room = min(50, columns - len(words) - len("unpacking []") - 1)
        bar = f" [{'#' * int(part * room):{room}}]" if room > 4 else ""
        return f"unpacking{bar}{words}"[: columns - 1]

    def _write(self, text: str) -> None:
        if self.shown:
            try:
                files.write_all(self.fd, text.encode())
            except OSError:  # the terminal has gone
                self.shown = False
