"""The foreground: what stands between a person and a container until its program ends.

Without a terminal the container has our own stdio and only signals pass through here. With one, the pty's master is
ours: what is typed goes in, what is printed comes out. Nothing is lost, and while one side is slow the other one waits in poll(2).
"""

from __future__ import annotations

import _signal as signals
import errno
import posix
import select

from pyrun._native import ffi, lib
from pyrun.init.session import must

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun._native import CData
    from pyrun.host.notify import Proxy
    from pyrun.host.terminal import Console

CHUNK = 4096  # what a pipe takes at once when poll says it is writable (PIPE_BUF, pipe(7))
ROOM = 64 * 1024
END_OF_FILE = b"\x04"
PR_SET_CHILD_SUBREAPER = 36


class Foreground:
    """Waits for one child, and passes on to it the signals that we get."""

    def __init__(self) -> None:
        self.signals = -1
        self.pid = 0
        self.status: int | None = None
        self.console: Console | None = None
        self.notify: Proxy | None = None

    def take_signals(self) -> None:
        """Blocks all signals and keeps them for wait(): called before the program runs, so that none is missed."""
        self.signals = must(lib.native_signalfd(), "signalfd")

    def adopt_orphans(self) -> None:
        """What the container's processes leave behind becomes ours to reap."""
        lib.native_prctl(PR_SET_CHILD_SUBREAPER, 1)

    def adopt(self, console: Console) -> None:
        """Shows the container's terminal, if it has one (Console), on ours."""
        if console.master >= 0:
            posix.set_blocking(console.master, False)
            self.console = console

    def wait(self, pid: int, notify: Proxy | None = None) -> int:
        """Runs until the child has ended and its last output is written. Returns the exit code, or 128 + the signal.

        notify: the notify.Proxy of the container; for the service manager we are its main process.
        """
        self.pid = pid
        self.notify = notify
        if not self.console:
            self._loop(None)
        else:
            relay = _Relay(self.console)
            relay.open()
            try:
                self._loop(relay)
            finally:
                relay.close()
        code = posix.waitstatus_to_exitcode(self.status or 0)
        return code if code >= 0 else 128 - code

    def _loop(self, relay: _Relay | None) -> None:
        poll = select.poll()
        poll.register(self.signals, select.POLLIN)
        notify_fd = self.notify.sock if self.notify else -1
        if self.notify:
            poll.register(notify_fd, select.POLLIN)
        self._reap()
        while self.status is None:
            if relay:
                relay.register(poll)
            for fd, events in poll.poll():
                if fd == self.signals:
                    self._on_signals(relay)
                elif self.notify and fd == notify_fd:
                    self._on_notify(self.notify, poll)
                elif relay:
                    relay.on_event(fd, events)
        if self.notify:
            self.notify.drain(posix.getpid())
        if relay:
            relay.drain(self.signals)

    def _on_notify(self, proxy: Proxy, poll: select.poll) -> None:
        fd = proxy.sock
        proxy.on_event(posix.getpid())
        if proxy.sock < 0:
            poll.unregister(fd)
            self.notify = None

    def _on_signals(self, relay: _Relay | None) -> None:
        while self.status is None and (number := lib.native_read_signal(self.signals)) > 0:
            self._on_signal(number, relay)

    def _on_signal(self, number: int, relay: _Relay | None) -> None:
        # First, as a signal with a lower number comes before SIGCHLD, however long the program has been dead by then.
        self._reap()
        if number == signals.SIGWINCH and relay:
            relay.console.copy_size()
        elif number in _OURS:
            pass
        elif self.status is None:
            posix.kill(self.pid, number)
        elif relay:
            signals.raise_signal(number)  # for drain(): it was sent to a command that only waits for its reader

    def _reap(self) -> None:
        """All children that ended: the program, and orphans of the container when we are their subreaper."""
        while True:
            try:
                pid, status = posix.waitpid(-1, posix.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid == self.pid:
                self.status = status


# Signals that concern us and not the container: a new size of our terminal, the end of the reader of our output, of a child.
_OURS = frozenset((signals.SIGWINCH, signals.SIGPIPE, signals.SIGURG, signals.SIGCHLD))


_ENDINGS = (signals.SIGHUP, signals.SIGINT, signals.SIGTERM)


class _Relay:
    """Copies between our stdio and the master of a pty, each way through a bounded buffer."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.master = console.master
        self.to_master = bytearray()
        self.to_output = bytearray()
        self.input_open = True
        self.line_open = False
        self.master_open = True
        self.registered: dict[int, int] = {}
        self.saved: CData | None = None

    def open(self) -> None:
        saved = ffi.new("char[64]")
        # Without a terminal as stdin nothing typed is for the container, and ^C is for us.
        if posix.isatty(0) and lib.native_tty_raw(self.console.terminal, saved) == 0:
            self.saved = saved
        if not self.console.sized:
            self.console.copy_size()  # it may have changed while the container was made

    def close(self) -> None:
        if self.saved is not None:
            lib.native_tty_restore(self.console.terminal, self.saved)
        self._hang_up()

    def _hang_up(self) -> None:
        """The other side of the pty sees that its terminal has gone."""
        if self.master >= 0:
            posix.close(self.master)
        self.master = self.console.master = -1
        self.master_open = False

    def register(self, poll: select.poll) -> None:
        """Asks for what there is room for, or something to write."""
        wanted = {}
        if self.input_open and len(self.to_master) < ROOM:
            wanted[0] = select.POLLIN
        if self.to_output:
            wanted[1] = select.POLLOUT
        if self.master_open:
            events = (select.POLLIN if len(self.to_output) < ROOM else 0) | (select.POLLOUT if self.to_master else 0)
            if events:
                wanted[self.master] = events
        if wanted == self.registered:
            return
        for fd in self.registered:
            if fd not in wanted:
                poll.unregister(fd)
        for fd, events in wanted.items():
            poll.register(fd, events)
        self.registered = wanted

    def on_event(self, fd: int, events: int) -> None:
        if fd == 0:
            self._read_input()
        elif fd == 1:
            self._write_output()
        else:
            if events & select.POLLOUT:
                self._write_master()
            if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
                self._read_master()

    def _read_input(self) -> None:
        try:
            data = posix.read(0, CHUNK)
        except OSError:  # EIO of a terminal that hung up; whatever it is, no more comes of it
            data = b""
        if data:
            self.to_master += data
            self.line_open = data[-1:] != b"\n"
        else:
            # A terminal has no end of file but this character; `echo ls | pyrun run …` ends with it. Amid a line the first
            # one only delivers the line so far (termios(3), VEOF).
            self.input_open = False
            self.to_master += END_OF_FILE * (1 + self.line_open)

    def _write_master(self) -> None:
        try:
            del self.to_master[: posix.write(self.master, bytes(self.to_master[:CHUNK]))]
        except OSError as error:
            if error.errno != errno.EAGAIN:
                self.to_master.clear()

    def _read_master(self) -> bool:
        """False when there is nothing more to read now."""
        try:
            data = posix.read(self.master, CHUNK)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return False
            data = b""  # EIO: the last holder of the slave has gone
        if not data:
            self.master_open = False
            return False
        self.to_output += data
        return True

    def _write_output(self) -> None:
        try:
            del self.to_output[: posix.write(1, bytes(self.to_output[:CHUNK]))]
        except OSError as error:
            if error.errno != errno.EAGAIN:
                self.to_output.clear()
            if error.errno in (errno.EPIPE, errno.EIO):
                # Nobody reads any more: the program learns it as it would from a terminal that was closed.
                self._hang_up()

    def drain(self, signal_fd: int) -> None:
        """The program has ended: what it printed last still comes out, unless a signal says that nobody waits for it."""
        poll = select.poll()
        poll.register(1, select.POLLOUT)
        poll.register(signal_fd, select.POLLIN)
        while True:
            while self.master_open and len(self.to_output) < ROOM and self._read_master():
                pass
            if not self.to_output:
                return
            for fd, _ in poll.poll():
                if fd == 1:
                    self._write_output()
                elif lib.native_read_signal(signal_fd) in _ENDINGS:
                    return
