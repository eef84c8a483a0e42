"""The fds that the runtime's caller has passed to it: stdio, and what goes on to the program."""

from __future__ import annotations

import posix

from pyrun.base.errors import Error


def stdio() -> list[str]:
    """What our stdin, stdout and stderr are (as proc_pid_fd(5) shows them), for a checkpoint that is to come."""
    return [posix.readlink(f"/proc/self/fd/{fd}") for fd in range(3)]


def listen_fds() -> int:
    """How many sockets our caller passed to us (sd_listen_fds(3)); none where it inherited the variable from its own caller."""
    count = posix.environ.get(b"LISTEN_FDS", b"")
    ours = posix.environ.get(b"LISTEN_PID") == b"%d" % posix.getpid()
    return int(count) if ours and count.isdigit() else 0


def preserved(count: int, listen: int = 0) -> tuple[int, ...]:
    """The caller's fds the program gets: those of listen_fds(), then `count` more. Raises Error."""
    for fd in range(3, 3 + listen + count):
        try:
            posix.fstat(fd)
        except OSError:  # EBADF is all that fstat can say of an fd
            raise Error(f"LISTEN_FDS {listen}: fd {fd} is not open" if fd < 3 + listen else f"--preserve-fds {count}: fd {fd} is not open") from None
    return tuple(range(3, 3 + listen + count))


def listen_env(count: int) -> list[str]:
    """What the environment (NAME=VALUE) of the program, which will be pid 1, has besides for sd_listen_fds(3)."""
    if not count:
        return []
    env = [f"LISTEN_FDS={count}", "LISTEN_PID=1"]
    names = posix.environ.get(b"LISTEN_FDNAMES")
    return [*env, f"LISTEN_FDNAMES={names.decode('utf-8', 'surrogateescape')}"] if names else env
