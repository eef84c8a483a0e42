"""How far the layers are unpacked, in a line of the terminal; nowhere else."""

from __future__ import annotations

import posix

from pyrun._native import lib
from pyrun.base import files

PLAIN = 80  # columns, of a terminal that does not say


class Progress:
    """A context. total: bytes of the layers' files."""

    def __init__(self, total: int, fd: int = 2) -> None:
        self.total, self.fd, self.done, self.percent, self.shown = total, fd, 0, -1, posix.isatty(fd)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._write("\r\033[K")

    def add(self, size: int) -> None:
        self.done += size
        percent = min(100, self.done * 100 // self.total) if self.total else 100
        if self.shown and percent != self.percent:  # at most a hundred times, however many files there are
            self.percent = percent
            self._write("\r" + self.line() + "\033[K")

    def line(self) -> str:
        size = lib.native_tty_get_size(self.fd)
        columns = (size & 0xFFFF if size > 0 else 0) or PLAIN
        words = f" {self.percent:3}% of {self.total / 1e6:.1f} MB"
        room = min(50, columns - len(words) - len("unpacking []") - 1)
        bar = f" [{'#' * (self.percent * room // 100):{room}}]" if room > 4 else ""
        return f"unpacking{bar}{words}"[: columns - 1]

    def _write(self, text: str) -> None:
        if self.shown:
            try:
                files.write_all(self.fd, text.encode())
            except OSError:  # the terminal has gone
                self.shown = False
