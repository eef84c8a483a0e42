"""Other processes: waiting for their end, and ending them.

By pidfd. Where there is none to be had (before Linux 5.3, or a seccomp filter around us refuses it) by looking again and again.
"""

import errno
import posix
import select
import time

from pyrun._native import lib

SIGKILL = 9
PATIENCE = 10_000  # ms for a process that must end: it may hang in the kernel, or be frozen
LOOK = 10  # ms between two looks at a process
REFUSED = frozenset((errno.ENOSYS, errno.EPERM, errno.EACCES))


def pidfd(pid):
    """A pidfd, -1 where there is none to be had. Raises ProcessLookupError."""
    try:
        return posix.pidfd_open(pid)
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        return -1


def readable(fd, timeout=None):
    """Waits until there is something to read, or a pidfd's process has ended; whether it is so. timeout: ms, None for no end."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout))


def ended(pid):
    return lib.native_process_start(pid) == 0


def await_end(pid, timeout=PATIENCE):
    """Waits until a process has ended; a zombie has. timeout: ms. Returns whether it has."""
    try:
        fd = pidfd(pid)
    except ProcessLookupError:
        return True
    if fd >= 0:
        try:
            return readable(fd, timeout)
        finally:
            posix.close(fd)
    limit = time.monotonic() + timeout / 1000
    while not ended(pid):
        if time.monotonic() > limit:
            return False
        select.poll().poll(LOOK)
    return True


def end(pid):
    """Kills and reaps a child; one that is gone is fine, and one that does not end is left."""
    try:
        posix.kill(pid, SIGKILL)
        if await_end(pid):
            posix.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass
