"""The terminal of a container's process, and our own that it is shown on."""

from __future__ import annotations

import posix

from pyrun._native import lib
from pyrun.base.errors import Error, words
from pyrun.host import sockets
from pyrun.init.session import must, send


def own_terminal() -> int:
    """An fd of our controlling terminal, or of one that our stdio is. Raises Error where there is none."""
    for fd in (2, 1, 0):
        if posix.isatty(fd):
            return fd
    try:
        return posix.open("/dev/tty", posix.O_RDWR | posix.O_NOCTTY | posix.O_CLOEXEC)
    except OSError as error:
        raise Error(
            f"process.terminal: open /dev/tty: {words(error.errno)}: stdin, stdout and stderr are no terminals either: "
            "run it in a terminal, or detach with --console-socket, or without process.terminal"
        ) from None


class Console:
    """The master of the container's pty: handed to the console socket, or kept for the foreground in `master`.

    terminal: our own terminal that it is shown on, -1 where it is not. Raises Error, in runc's words that callers know, for what
    cannot work: a terminal needs someone to hold its master.
    """

    def __init__(self, process: dict | None, path: str | None, detached: bool) -> None:
        wanted = bool(process and process["terminal"])
        if detached and wanted and not path:
            cure = "process.terminal is true: give --console-socket, or set it to false"
            raise Error(f"cannot allocate tty if runc will detach without setting console socket ({cure})")
        if path and not (detached and wanted):
            raise Error("cannot use console socket if pyrun will not detach or allocate tty (--console-socket, process.terminal)")
        self.path = path
        self.sized = any(process["consoleSize"].values()) if process else False
        self.terminal = own_terminal() if wanted and not detached else -1
        self.master = self.socket = -1

    def connect(self) -> None:
        """To the console socket, if there is one. Raises Error."""
        if self.path:
            self.socket = must(sockets.connect_unix(self.path), f"--console-socket {self.path}: connect")

    def receive(self, master: int) -> None:
        self.master = master
        if self.socket >= 0:
            name = b"/dev/ptmx"  # what runc sends along
            must(send(self.socket, name, [master]), "--console-socket: sendmsg")
            self.close()
            return
        # What is shown on our terminal gets its carriage returns there; what goes to a file or a pipe has none, as with runc.
        must(lib.native_tty_no_carriage_returns(master), "process.terminal: tcsetattr")
        if not self.sized:
            self.copy_size()  # before the program can look at it

    def copy_size(self) -> None:
        """Our terminal's size becomes the container's."""
        size = lib.native_tty_get_size(self.terminal)
        if size > 0:
            lib.native_tty_set_size(self.master, size >> 16, size & 0xFFFF)

    def close(self) -> None:
        for fd in (self.socket, self.master):
            if fd >= 0:
                posix.close(fd)
        self.socket = self.master = -1
