"""Signals that end a command: let in where it waits and nothing is half done, so that it can undo what it has begun."""

from __future__ import annotations

import _signal as signals

from pyrun.base.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType
    from typing import TypeVar

    T = TypeVar("T")


class Interrupted(Error):
    """A signal that ends the command, once what was begun is undone. The exit status is the shell's: 128 + its number."""

    def __init__(self, number: int) -> None:
        Error.__init__(self, f"interrupted by signal {number}", 128 + number)


_INTERRUPTS = (signals.SIGHUP, signals.SIGINT, signals.SIGTERM)


def interruptible() -> None:
    """From here on a signal that would end us raises Interrupted instead, once; ignored ones (nohup) stay ignored."""

    def interrupt(number: int, _: FrameType | None) -> None:
        for other in _INTERRUPTS:
            signals.signal(other, signals.SIG_IGN)
        raise Interrupted(number)

    for number in _INTERRUPTS:
        if signals.getsignal(number) != signals.SIG_IGN:
            signals.signal(number, interrupt)


def hold_interrupts() -> set[signals.Signals]:
    """Keeps these signals back until waiting(), whose mask this returns."""
    return signals.pthread_sigmask(signals.SIG_BLOCK, _INTERRUPTS)


def others_blocked() -> set[int]:
    """The mask for waiting() in a command that keeps all other signals for its program."""
    return signals.valid_signals() - set(_INTERRUPTS)


def set_mask(mask: Iterable[int]) -> None:
    signals.pthread_sigmask(signals.SIG_SETMASK, mask)


def waiting(mask: Iterable[int], function: Callable[..., T], *args: object) -> T:
    """Calls a function that may take long, with the signals of `mask` held back alone: one that ends us is let in meanwhile."""
    set_mask(mask)
    try:
        return function(*args)
    finally:
        hold_interrupts()


def uninterrupted() -> None:
    """From here on the container lives without us: a signal ends this command at once, and nothing is undone."""
    for number in _INTERRUPTS:
        if signals.getsignal(number) != signals.SIG_IGN:
            signals.signal(number, signals.SIG_DFL)
    signals.pthread_sigmask(signals.SIG_UNBLOCK, _INTERRUPTS)
