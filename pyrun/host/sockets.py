"""Sockets of the runtime's caller and of seccomp agents, and what is sent to them."""

from __future__ import annotations

import errno
import posix

from pyrun._native import lib
from pyrun.base import files, jsonio
from pyrun.base.errors import Error, words
from pyrun.base.processes import NEEDS, REFUSED, must_pidfd
from pyrun.init.session import connect, must, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.container.state import Container


def connect_unix(path: str, kind: int = 1) -> int:
    """An fd connected to the AF_UNIX socket at this path of any length, or -errno. kind: SOCK_STREAM, …."""
    directory, _, name = path.rpartition("/")
    try:
        fd = posix.open(directory or ("/" if path[:1] == "/" else "."), posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError as error:
        return -(error.errno or errno.EIO)
    try:
        return connect(fd, name.encode("utf-8", "surrogateescape"), kind)
    finally:
        posix.close(fd)


def connect_address(address: str, kind: int) -> int:
    """As connect_unix(), for an address in the words of systemd and D-Bus: one that begins with @ is abstract (unix(7))."""
    if address[:1] == "@":
        return connect(files.AT_FDCWD, address.encode("utf-8", "surrogateescape"), kind)
    return connect_unix(address, kind)


def send_pidfd(path: str, pid: int) -> None:
    """Sends a pidfd of a process to the socket of --pidfd-socket. Raises Error."""
    pidfd = must_pidfd(pid, f"--pidfd-socket {path}")
    sock = -1
    try:
        sock = must(connect_unix(path), f"--pidfd-socket {path}")
        must(send(sock, b"pidfd", [pidfd]), f"--pidfd-socket {path}")
    finally:
        for fd in (pidfd, sock):
            if fd >= 0:
                posix.close(fd)


def send_listener(container: Container, config: dict, number: int, pid: int) -> None:
    """Sends the seccomp listener of init to the agent (config-linux.md#seccomp, listenerPath, ContainerProcessState).

    The fd is fetched here: with the filter on, init itself could wait for the very agent that has not got it yet.
    """
    profile = config["linux"]["seccomp"]
    pidfd = must_pidfd(pid, "linux.seccomp.listenerPath")
    listener = sock = -1
    try:
        listener = lib.native_pidfd_getfd(pidfd, number)
        if -listener in REFUSED:
            raise Error(f"linux.seccomp.listenerPath: pidfd_getfd: {words(-listener)}{NEEDS % '5.6'}")
        must(listener, "linux.seccomp.listenerPath: pidfd_getfd")
        path = profile["listenerPath"]
        sock = connect_unix(path)
        must(sock, f"failed to connect with seccomp agent: linux.seccomp.listenerPath: {path}")
        state = {
            "ociVersion": container.data["ociVersion"],
            "fds": ["seccompFd"],
            "pid": pid,
            "metadata": profile.get("listenerMetadata", ""),
            "state": container.oci("creating"),
        }
        text = jsonio.dumps(state).encode("utf-8", "surrogateescape")
        must(send(sock, text, [listener]), f"linux.seccomp.listenerPath: send to {path}")
    finally:
        for fd in (pidfd, listener, sock):
            if fd >= 0:
                posix.close(fd)
