"""Signals that end a command: let in where it waits and nothing is half done, so that it can undo what it has begun."""

from __future__ import annotations

import _signal as signals
import posix

from pyrun.base.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import TypeVar

    T = TypeVar("T")


class Interrupted(Error):
    """A signal that ends the command, once what was begun is undone. The exit status is the shell's: 128 + its number."""

    def __init__(self, number: int) -> None:
        Error.__init__(self, f"interrupted by signal {number}", 128 + number)
        self.number = number

    def put_back(self) -> None:
        """Holds the signal again: it came too late to end us."""
        _handle(_interrupt)
        posix.kill(posix.getpid(), self.number)


_INTERRUPTS = (signals.SIGHUP, signals.SIGINT, signals.SIGTERM)
_taken: list[int] = []  # those of them that were not ignored
_held = False


def hold() -> None:
    """From here on a signal that would end us raises Interrupted instead, once, and only in waiting(). Ignored ones (nohup) stay
    ignored.
    """
    global _held
    _held = True
    signals.pthread_sigmask(signals.SIG_BLOCK, _INTERRUPTS)
    _taken[:] = [number for number in _INTERRUPTS if signals.getsignal(number) != signals.SIG_IGN]
    _handle(_interrupt)


def _handle(handler: Callable[[int, FrameType | None], None] | signals.Handlers) -> None:
    for number in _taken:
        signals.signal(number, handler)


def _interrupt(number: int, _: FrameType | None) -> None:
    _handle(signals.SIG_IGN)
    raise Interrupted(number)


def waiting(function: Callable[..., T], *args: object) -> T:
    """Calls what may take long. The signals that end us are let in meanwhile."""
    kept = _INTERRUPTS if _held else signals.pthread_sigmask(signals.SIG_BLOCK, ())
    try:
        signals.pthread_sigmask(signals.SIG_UNBLOCK, _INTERRUPTS)  # raises Interrupted for one that has come already
        return function(*args)
    finally:
        signals.pthread_sigmask(signals.SIG_BLOCK, kept)


def let_go() -> None:
    """From here on the container lives without us: a signal ends this command at once, and nothing is undone."""
    global _held
    _held = False
    _handle(signals.SIG_DFL)
    signals.pthread_sigmask(signals.SIG_UNBLOCK, _INTERRUPTS)
