"""Other processes: waiting for their end, and ending them.

By pidfd; or, before Linux 5.3 and where a seccomp filter around us refuses it, by looking again and again.
"""

from __future__ import annotations

import errno
import posix
import select
import time

from pyrun._native import lib
from pyrun.base.errors import Error, words
from pyrun.base.files import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

SIGKILL = 9
PATIENCE = 10_000  # ms for a process that must end: it may hang in the kernel, or be frozen
SECOND = 1000  # ms
TICK = 10**7  # ns: the kernel shows times in hundredths of a second, whatever its own ticks are
LOOK = 10  # ms between two looks at a process
REFUSED = frozenset((errno.ENOSYS, errno.EPERM, errno.EACCES))
NEEDS = " (it takes Linux %s, and a seccomp filter around the runtime that allows it)"


def pidfd(pid: int) -> int:
    """A pidfd, -1 where there is none to be had. Raises ProcessLookupError."""
    try:
        return posix.pidfd_open(pid)
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        return -1


def must_pidfd(pid: int, what: str) -> int:
    """A pidfd for what cannot do without. what: for the message. Raises Error."""
    try:
        return posix.pidfd_open(pid)
    except OSError as error:
        raise Error(f"{what}: pidfd_open: {words(error.errno)}{NEEDS % '5.3' if error.errno in REFUSED else ''}") from None


class Poller:
    """poll(2) for files and for the end of processes. Each has a handle: the fd of a file, and process() gives that of a process."""

    def __init__(self) -> None:
        self.files = select.poll()
        self.pidfds: list[int] = []
        self.looked_at: list[int] = []  # pids without a pidfd

    def file(self, fd: int, events: int = select.POLLIN) -> None:
        self.files.register(fd, events)

    def forget(self, fd: int) -> None:
        self.files.unregister(fd)

    def process(self, pid: int) -> int:
        try:
            fd = pidfd(pid)
        except ProcessLookupError:
            fd = -1
        if fd < 0:
            self.looked_at.append(pid)
            return -pid
        self.pidfds.append(fd)
        self.files.register(fd, select.POLLIN)
        return fd

    def wait(self, timeout: float | None = None) -> list[int]:
        """The handles of what has happened; none when the time is over. timeout: ms, None for no end."""
        limit = None if timeout is None else time.monotonic() + timeout / 1000
        while True:
            found = [-pid for pid in self.looked_at if ended(pid)]
            left = None if limit is None else max(0, int((limit - time.monotonic()) * 1000 + 0.999))
            pause = 0 if found else left if not self.looked_at else LOOK if left is None else min(left, LOOK)
            found += [fd for fd, _ in self.files.poll(pause)]
            if found or left == 0 or not self.looked_at:
                return found

    def close(self) -> None:
        for fd in self.pidfds:
            posix.close(fd)
        self.pidfds = []


def patient(wait: Callable[[float | None], T], what: str, limit: float | None = None, since: float | None = None) -> T:
    """wait(ms) until it gives something true, or `limit` ms are over (None: no end). A person in front of a terminal learns what takes
    longer than a second: what (str), '' for nobody. since: when that has begun (time.monotonic()), None for now.
    """
    quiet = SECOND if since is None else max(0, SECOND - (time.monotonic() - since) * 1000)
    if not what or (limit is not None and limit <= quiet):
        return wait(limit)
    found = wait(quiet)
    if found:
        return found
    from pyrun.base import notice

    begun = time.monotonic() - quiet / 1000 if since is None else since
    return notice.during(wait, what, None if limit is None else limit - quiet, begun)


def readable(fd: int, timeout: float | None = None) -> bool:
    """Waits until there is something to read; whether there is. timeout: ms, None for no end."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout))


def start_time(pid: int) -> int:
    """When a process was started (clock ticks since boot), 0 if it is gone or a zombie. Raises OSError: that cannot be found out."""
    time = lib.native_process_start(pid)
    if time < 0:
        raise OSError(-time, posix.strerror(-time), f"/proc/{pid}/stat")
    return time


def started_at(pid: int, time: int) -> bool:
    """Whether a process was started then, by a clock of the first time namespace, or of the process's own. Raises OSError as start_time()."""
    here = start_time(pid)
    if here == time or not here:
        return here == time
    # /proc shows it with the offset of our own time namespace, which is no whole number of ticks.
    ours = boottime_offset()
    return any(here - time in (offset // TICK, -(-offset // TICK)) for offset in (ours, ours - boottime_offset(pid)))


def boottime_offset(pid: int | str = "self") -> int:
    """ns by which the time namespace of a process shows more since boot than the first one; 0 where the process is gone."""
    try:
        lines = read(f"/proc/{pid}/timens_offsets").splitlines()
    except (FileNotFoundError, ProcessLookupError):  # before Linux 5.5, or gone
        return 0
    return sum(int(seconds) * 10**9 + int(rest) for clock, seconds, rest in map(bytes.split, lines) if clock == b"boottime")


def ended(pid: int) -> bool:
    """Whether a process is gone, or a zombie. One that cannot be looked at now is neither: whoever waits for it looks again."""
    return lib.native_process_start(pid) == 0


def await_end(pid: int, timeout: int = PATIENCE) -> bool:
    """Waits until a process has ended; a zombie has. timeout: ms. Returns whether it has."""
    poller = Poller()
    try:
        poller.process(pid)
        return bool(poller.wait(timeout))
    finally:
        poller.close()


def end(pid: int) -> None:
    """Kills and reaps a child; one that is gone is fine, and one that does not end is left."""
    try:
        posix.kill(pid, SIGKILL)
        if await_end(pid):
            posix.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass
