"""The whole screen of our terminal: taken, painted, and given back on every way out."""

from __future__ import annotations

import _signal as signals
import errno
import posix
import select

from pyrun._native import ffi, lib
from pyrun.base.errors import Error, words
from pyrun.init.session import must

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# console_codes(4): the screen aside and back, the cursor hidden and shown; to the top, to the end of the line, to that of the screen.
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l\x1b[2J", "\x1b[?25h\x1b[?1049l"
HOME, END_OF_LINE, END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
REVERSE, BOLD, PLAIN = "\x1b[7m", "\x1b[1m", "\x1b[0m"
KEYS = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1bOA": "up", b"\x1bOB": "down", b"\x1b[5~": "page up", b"\x1b[6~": "page down", b"\x1b": "escape"}
STOP, RESIZED, CONTINUED = signals.SIGTSTP, signals.SIGWINCH, signals.SIGCONT
ENDINGS = (signals.SIGHUP, signals.SIGINT, signals.SIGQUIT, signals.SIGTERM)
LAST_WORD = 500  # ms for a terminal that takes nothing


class Screen:
    """stdin and stdout must be terminals. Signals come by wait(), so that none ends us while the screen is taken."""

    def __init__(self) -> None:
        self.signals = must(lib.native_signalfd(), "signalfd")
        # Opened anew, they can be without waits: as they are, that would be so for the shell too.
        self.input, self.output = _anew(0), _anew(1)
        self.saved = ffi.new("char[64]")
        self.taken = False

    def enter(self) -> None:
        must(lib.native_tty_raw(self.input, self.saved), "the terminal: tcsetattr")
        self.taken = True
        self._write(ENTER)

    def leave(self) -> None:
        if self.taken:
            self.taken = False
            self._write(LEAVE)
            lib.native_tty_restore(self.input, self.saved)

    def suspend(self) -> None:
        """^Z: the shell gets its terminal, until it lets us go on."""
        self.leave()
        posix.kill(posix.getpid(), signals.SIGSTOP)
        self.enter()

    def resume(self) -> None:
        """After a stop that was not ours the terminal is as somebody else wants it."""
        lib.native_tty_restore(self.input, self.saved)
        self.enter()

    def size(self) -> tuple[int, int]:
        """(columns, lines)"""
        size = lib.native_tty_get_size(self.output)
        return (size & 0xFFFF or 80, size >> 16 or 24) if size > 0 else (80, 24)

    def show(self, lines: Sequence[str]) -> None:
        """Paints all of the screen, by one write: nothing is cleared before it is written anew, so it does not flicker."""
        self._write(HOME + (END_OF_LINE + "\r\n").join(lines) + END_OF_LINE + END_OF_SCREEN)

    def wait(self, timeout: float) -> tuple[list[str], list[int]]:
        """(keys, signals) that have come, none after so many ms. Raises Error: the terminal has gone."""
        poll = select.poll()
        poll.register(self.input, select.POLLIN)
        poll.register(self.signals, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(timeout)]
        numbers = []
        while (number := lib.native_read_signal(self.signals)) > 0:
            numbers.append(number)
        return keys(self._read()) if self.input in ready else [], numbers

    def _read(self) -> bytes:
        try:
            data = posix.read(self.input, 4096)
        except BlockingIOError:
            return b""
        except OSError as fault:
            raise Error(f"the terminal: {words(fault.errno)}") from None
        if not data:
            raise Error("the terminal has gone")
        return data

    def _write(self, text: str) -> None:
        """All of it; less where the terminal takes no more and a signal comes, or where it is given back."""
        data = text.encode()
        poll = select.poll()
        poll.register(self.output, select.POLLOUT)
        if self.taken:
            poll.register(self.signals, select.POLLIN)
        while data:
            try:
                data = data[posix.write(self.output, data) :]
            except OSError as fault:
                if fault.errno != errno.EAGAIN:
                    if self.taken:
                        raise Error(f"the terminal: {words(fault.errno)}") from None
                    return
                if not any(fd == self.output for fd, _ in poll.poll(None if self.taken else LAST_WORD)):
                    return


def _anew(fd: int) -> int:
    try:
        return posix.open(f"/proc/self/fd/{fd}", posix.O_RDWR | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC)
    except OSError:  # it belongs to another user, after su(1)
        return fd


def keys(data: bytes) -> list[str]:
    """What was typed: letters as they are, and the names in KEYS."""
    found = []
    while data:
        size = 1
        if data[:2] == b"\x1b[":
            size = next((at + 1 for at, byte in enumerate(data[2:], 2) if 0x40 <= byte <= 0x7E), len(data))
        elif data[:2] == b"\x1bO":
            size = min(3, len(data))
        found.append(KEYS.get(data[:size]) or data[:size].decode("latin-1"))
        data = data[size:]
    return found


def die(number: int) -> None:
    """Ends as a signal would have ended us."""
    signals.signal(number, signals.SIG_DFL)
    signals.pthread_sigmask(signals.SIG_UNBLOCK, [number])
    signals.raise_signal(number)
