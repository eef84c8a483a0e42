"""What goes between a container and the runtime's caller, besides stdio: fds, sockets, the pid file."""

import errno
import posix

from pyrun._native import lib
from pyrun.base import files, jsonio, log
from pyrun.base.errors import Error, words
from pyrun.base.processes import NEEDS, REFUSED, must_pidfd
from pyrun.init.session import connect, must, send


def send_listener(container, config, number, pid):
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
            "metadata": profile.get("listenerMetadata") or "",
            "state": container.oci("creating"),
        }
        text = jsonio.dumps(state).encode("utf-8", "surrogateescape")
        must(send(sock, text, [listener]), f"linux.seccomp.listenerPath: send to {path}")
    finally:
        for fd in (pidfd, listener, sock):
            if fd >= 0:
                posix.close(fd)


def connect_unix(path, kind=1):
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


def connect_address(address, kind):
    """As connect_unix(), for an address in the words of systemd and D-Bus: one that begins with @ is abstract (unix(7))."""
    if address[:1] == "@":
        return connect(files.AT_FDCWD, address.encode("utf-8", "surrogateescape"), kind)
    return connect_unix(address, kind)


def send_pidfd(path, pid):
    pidfd = must_pidfd(pid, f"--pidfd-socket {path}")
    sock = -1
    try:
        sock = must(connect_unix(path), f"--pidfd-socket {path}")
        must(send(sock, b"pidfd", [pidfd]), f"--pidfd-socket {path}")
    finally:
        for fd in (pidfd, sock):
            if fd >= 0:
                posix.close(fd)


def stdio():
    """What our stdin, stdout and stderr are (list of str, as proc_pid_fd(5) shows them), for a checkpoint that is to come."""
    return [posix.readlink(f"/proc/self/fd/{fd}") for fd in range(3)]


def write_pid_file(path, pid):
    """The number without a newline, as callers parse it; complete or not there at all. Raises Error."""
    try:
        _check_replaceable(path)
        files.replace(path, str(pid).encode(), 0o644)
    except OSError as error:
        raise Error(f"--pid-file {path}: {words(error.errno)}") from None


def _check_replaceable(path):
    """A file takes the place of what is there: that must not be /dev/null."""
    try:
        kind = posix.lstat(path).st_mode & files.S_IFMT
    except FileNotFoundError:
        return
    if kind not in (files.S_IFREG, files.S_IFLNK):
        raise Error(f"--pid-file {path}: there is something else than a file")


def remove_pid_file(path):
    try:
        files.remove(path)
    except OSError as error:
        log.warning(f"--pid-file {path} is left: {words(error.errno)}")


def listen_fds():
    """How many sockets our caller passed to us (sd_listen_fds(3)); none where it inherited the variable from its own caller."""
    count = posix.environ.get(b"LISTEN_FDS", b"")
    ours = posix.environ.get(b"LISTEN_PID") == b"%d" % posix.getpid()
    return int(count) if ours and count.isdigit() else 0


def preserved_fds(count, listen=0):
    """The caller's fds the program gets: those of listen_fds(), then `count` more. Raises Error."""
    for fd in range(3, 3 + listen + count):
        try:
            posix.fstat(fd)
        except OSError:  # EBADF is all that fstat can say of an fd
            raise Error(f"LISTEN_FDS {listen}: fd {fd} is not open" if fd < 3 + listen else f"--preserve-fds {count}: fd {fd} is not open") from None
    return tuple(range(3, 3 + listen + count))


def listen_env(count):
    """What the environment (list of NAME=VALUE) of the program, which will be pid 1, has besides for sd_listen_fds(3)."""
    if not count:
        return []
    env = [f"LISTEN_FDS={count}", "LISTEN_PID=1"]
    names = posix.environ.get(b"LISTEN_FDNAMES")
    return [*env, f"LISTEN_FDNAMES={names.decode('utf-8', 'surrogateescape')}"] if names else env
