"""Colours of what is printed on a terminal."""

from __future__ import annotations

import posix

COLOURS = {"error": "1;31", "warning": "1;33", "strong": "1", "dim": "2", "cure": "32", "good": "1;32", "removed": "31", "added": "32"}


class Paint:
    """paint(colour, text): with the codes of the colour if stdout is a terminal, and $NO_COLOR (no-color.org) is not set."""

    def __init__(self) -> None:
        self.on = posix.isatty(1) and not posix.environ.get(b"NO_COLOR") and posix.environ.get(b"TERM") != b"dumb"

    def __call__(self, colour: str, text: str) -> str:
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if self.on and text else text
