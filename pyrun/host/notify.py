"""sd_notify(3) of a container: it gets a socket of its own, and READY=1 is passed on to the $NOTIFY_SOCKET of our caller.

Nothing else is passed on: a service manager believes what it is told (MAINPID, FDSTORE), so a container must not tell it.
What is mounted is a directory: the socket in it is bound by the command that starts the program, `run` or `start`.
"""

from __future__ import annotations

import posix
import select

from pyrun._native import lib
from pyrun.base import log
from pyrun.base.errors import words
from pyrun.base.processes import Poller
from pyrun.host.sockets import connect_address
from pyrun.init.session import must, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrun.container.state import Container

DIRECTORY, SOCKET = "notify", "notify.sock"
INSIDE = "/run/notify"  # where runc has it
ENV = (f"NOTIFY_SOCKET={INSIDE}/{SOCKET}",)
"""What the program's environment has besides."""
SOCK_DGRAM = 2
# ms that the service manager has to take a message, and to answer to a barrier (sd_notify_barrier(3)): as much as systemd-notify(1) gives it.
PATIENCE = 5000
CHUNK = 4096


def host_socket() -> str:
    """Our own $NOTIFY_SOCKET; empty where nobody wants to know."""
    return posix.environ.get(b"NOTIFY_SOCKET", b"").decode("utf-8", "surrogateescape")


def mount(container_directory: str) -> dict:
    """The mount, as an entry of config.mounts, of the socket's directory."""
    return {
        "destination": INSIDE,
        "source": f"{container_directory}/{DIRECTORY}",
        "options": ["bind", "nosuid", "noexec", "nodev", "ro"],
    }


def make_directory(container_directory: str) -> None:
    path = f"{container_directory}/{DIRECTORY}"
    posix.mkdir(path)
    posix.chmod(path, 0o755)


def listen(container: Container) -> Proxy | None:
    """The Proxy of a container whose program is about to start; None for one that was created without $NOTIFY_SOCKET."""
    directory = f"{container.directory}/{DIRECTORY}"
    try:
        fd = posix.open(directory, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if SOCKET in posix.listdir(fd):  # of a `start` that did not get far
            posix.unlink(SOCKET, dir_fd=fd)
        sock = must(lib.native_listen(fd, SOCKET.encode(), SOCK_DGRAM | posix.O_NONBLOCK), f"bind {directory}/{SOCKET}")
        posix.chmod(SOCKET, 0o777, dir_fd=fd)
    finally:
        posix.close(fd)
    return Proxy(sock, host_socket())


class Proxy:
    """The container's socket, read until READY=1 has come; then it is closed: what waits in it (barriers) counts as seen."""

    def __init__(self, sock: int, host: str) -> None:
        self.sock = sock
        self.host = host

    def close(self) -> None:
        posix.close(self.sock)
        self.sock = -1

    def on_event(self, main_pid: int) -> None:
        """Reads one message. READY=1: passes it on with the pid that the service manager shall watch, and closes. Never blocks long."""
        if self._read_ready():
            self._tell(main_pid, barrier=False)
            self.close()

    def drain(self, main_pid: int) -> None:
        """The program has ended: what it said last still counts."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        while self.sock >= 0 and poll.poll(0):
            self.on_event(main_pid)

    def wait(self, pid: int) -> None:
        """Until READY=1 has come and the service manager has seen it, or the process has ended."""
        poller = Poller()
        poller.process(pid)
        poller.file(self.sock)
        # A process may say READY=1 and end at once: then both have happened, and what it said is looked at first.
        while self.sock in poller.wait():
            if self._read_ready():
                self._tell(pid, barrier=True)
                break
        poller.close()
        self.close()

    def _read_ready(self) -> bool:
        try:
            # read(2) drops the fds that come along: a barrier of the container is over once it has been read.
            return b"READY=1" in posix.read(self.sock, CHUNK).split(b"\n")
        except BlockingIOError:
            return False

    def _tell(self, main_pid: int, barrier: bool) -> None:
        sock = connect_address(self.host, SOCK_DGRAM | posix.O_NONBLOCK)
        if sock < 0:
            log.warning(f"NOTIFY_SOCKET {self.host}: connect: {words(-sock)}")
            return
        try:
            if not _send(sock, f"READY=1\nMAINPID={main_pid}".encode(), ()):
                log.warning(f"NOTIFY_SOCKET {self.host}: nobody reads it")
            elif barrier and not _barrier(sock):
                log.warning(f"NOTIFY_SOCKET {self.host}: no answer to BARRIER=1")
        finally:
            posix.close(sock)


def _send(sock: int, message: bytes, fds: Sequence[int]) -> bool:
    """Whether the message could be sent, within our patience."""
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return bool(poll.poll(PATIENCE)) and send(sock, message, fds) == 0


def _barrier(sock: int) -> bool:
    """Whether all that was sent has been seen: the receiver closes the fd that it gets (sd_notify(3), BARRIER=1).

    Before that it could find us gone when it looks up who we were, and throw our message away.
    """
    ours, theirs = posix.pipe2(posix.O_CLOEXEC)
    try:
        sent = _send(sock, b"BARRIER=1", (theirs,))
        posix.close(theirs)
        poll = select.poll()
        poll.register(ours, 0)
        return sent and bool(poll.poll(PATIENCE))
    finally:
        posix.close(ours)
