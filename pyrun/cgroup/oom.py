"""The kernel's word that a container's memory ran out, and how to wait for it."""

from __future__ import annotations

import posix
import select

from pyrun.base.errors import Error
from pyrun.cgroup import tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cgroup.base import Cgroup


def _count(text: str) -> int:
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), 0)


def watch(group: Cgroup) -> V1 | V2:
    """What tells of a cgroup's memory. Raises Error where nothing counts the container's memory, OSError."""
    if "memory" in group.paths:
        return V1(group.paths["memory"])
    path = group.paths.get("")
    if not path or not tree.exists(path + V2.FILE):
        raise Error("memory controller missing")
    return V2(path)


class V1:
    """An eventfd that the kernel writes to when the limit has been hit, and when the cgroup is removed (cgroup v1, memory.rst)."""

    EVENTS = select.POLLIN

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = posix.eventfd(0, posix.EFD_CLOEXEC | posix.EFD_NONBLOCK)
        control = posix.open(path + "/memory.oom_control", posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            tree.write(path + "/cgroup.event_control", f"{self.fd} {control}")
        finally:
            posix.close(control)

    def happened(self) -> bool:
        """Whether memory ran out since the last call."""
        try:
            posix.eventfd_read(self.fd)
        except BlockingIOError:
            return False
        return not self.gone()

    def gone(self) -> bool:
        """Whether the cgroup was removed."""
        return not tree.exists(self.path)


class V2:
    """memory.events, whose counter of killed processes grows; poll(2) tells of every change of the file."""

    FILE = "/memory.events"
    EVENTS = select.POLLPRI

    def __init__(self, path: str) -> None:
        self.fd = posix.open(path + self.FILE, posix.O_RDONLY | posix.O_CLOEXEC)
        self.killed = self._count()

    def happened(self) -> bool:
        before, self.killed = self.killed, self._count()
        return self.killed > before

    def gone(self) -> bool:
        try:
            posix.pread(self.fd, 1, 0)
        except OSError as fault:
            if fault.errno not in tree.GONE:
                raise
            return True
        return False

    def _count(self) -> int:
        try:
            text = posix.pread(self.fd, 4096, 0).decode()
        except OSError as fault:
            if fault.errno not in tree.GONE:
                raise
            return 0
        return _count(text)
