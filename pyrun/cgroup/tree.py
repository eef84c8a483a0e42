"""What is the same in every hierarchy: control files, processes, and directories that come and go."""

from __future__ import annotations

import errno
import posix
import time

from pyrun.base import files
from pyrun.base.files import write as write  # of control files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

GONE = (errno.ENOENT, errno.ENODEV)
"""errnos of a cgroup that was removed: before its file was opened, or after."""


def read(path: str) -> str:
    """The text of a control file. OSError as posix gives it."""
    return files.read(path).decode(errors="surrogateescape")


def children(path: str) -> list[str]:
    """The directories of the cgroups right below a cgroup; none if it is gone."""
    try:
        with posix.scandir(path) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as fault:
        if fault.errno not in GONE:
            raise
        return []


def walk(path: str) -> list[str]:
    """A cgroup and all cgroups below it, parents first. However deep: the workload makes them."""
    found = [path]
    for directory in found:
        found += children(directory)
    return found


def pids(path: str, recursive: bool = True) -> list[int]:
    """The processes in a cgroup, and in those below it."""
    found = {}
    threaded = False
    for directory in walk(path) if recursive else (path,):
        try:
            text = read(directory + "/cgroup.procs")
        except OSError as fault:
            if fault.errno in GONE:
                continue
            if fault.errno != errno.EOPNOTSUPP:
                raise
            # A threaded cgroup lists no processes. Its threaded domain does, and that is above it, unless `path`
            # itself is threaded: then the threads stand for their processes.
            threaded = threaded or directory == path
            if not threaded:
                continue
            text = read(directory + "/cgroup.threads")
        found.update(dict.fromkeys(map(int, text.split())))
    # 0 stands for those that the reader's pid namespace does not show.
    found.pop(0, None)
    return list(found)


def make(path: str, made: list[str]) -> bool:
    """Makes a directory and its parents, and adds those it made to a list. Whether it was not there before.

    An empty parent may be removed by another before the child is in it: so it is tried some times.
    """
    for _ in range(10):
        try:
            posix.mkdir(path, 0o755)
        except FileExistsError:
            return False
        except FileNotFoundError:
            make(parent(path), made)
        else:
            made.append(path)
            return True
    raise FileNotFoundError(errno.ENOENT, posix.strerror(errno.ENOENT), path)


def enable(path: str, wanted: set[str]) -> set[str]:
    """Makes v2 controllers available in a cgroup, by switching them on in those above it, the highest first.

    Returns those that are available. One that cannot be switched on (in a cgroup with processes, or of another owner) is no fault
    here: whoever asks for a limit of it gets the error then.
    """
    try:
        have = set(read(path + "/cgroup.controllers").split())
    except FileNotFoundError:  # above the mount point
        return set()
    above = parent(path)
    if (missing := wanted - have) and (grants := missing & enable(above, missing)):
        have |= _switch_on(above + "/cgroup.subtree_control", sorted(grants))
    return have


def _switch_on(file: str, names: list[str]) -> set[str]:
    """Writes `+NAME …`, all at once or, since one may be refused, each alone. Returns the set of those it took."""
    try:
        write(file, " ".join("+" + name for name in names))
    except OSError:  # the reason matters only where a limit is asked for (controller_missing)
        return set().union(*(_switch_on(file, [name]) for name in names)) if len(names) > 1 else set()
    return set(names)


def remove(path: str) -> None:
    """Removes a cgroup and those below it, children first. OSError (EBUSY) if one has processes; a missing one is fine."""
    try:
        posix.rmdir(path)
    except FileNotFoundError:
        return
    except OSError as fault:
        # Where nothing may be written even what is not there cannot be removed.
        if fault.errno in (errno.EROFS, errno.EACCES, errno.EPERM) and not exists(path):
            return
        below = walk(path)
        if fault.errno != errno.EBUSY or len(below) == 1:
            raise
        for directory in reversed(below):
            try:
                posix.rmdir(directory)
            except FileNotFoundError:
                pass


def exists(path: str) -> bool:
    try:
        posix.stat(path)
    except FileNotFoundError:
        return False
    return True


def parent(path: str) -> str:
    return path.rpartition("/")[0]


def wait_event(path: str, line: str, seconds: float) -> bool:
    """Waits until cgroup.events of a v2 cgroup holds a line (`populated 0`). False if it does not within so many seconds."""
    import select

    try:
        fd = posix.open(path + "/cgroup.events", posix.O_RDONLY | posix.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        poller = select.poll()
        poller.register(fd, select.POLLPRI)
        deadline = time.monotonic() + seconds
        while line not in posix.pread(fd, 4096, 0).decode().splitlines():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            # The kernel ends the poll when the content is no longer what was read last.
            poller.poll(left * 1000)
        return True
    except OSError as fault:
        if fault.errno not in GONE:
            raise
        return True
    finally:
        posix.close(fd)


def pauses(seconds: float) -> Iterator[None]:
    """For loops that wait for the kernel: each round sleeps, 0.2 ms at first and up to 20 ms, until so many seconds are over."""
    deadline = time.monotonic() + seconds
    pause = 0.0002
    while time.monotonic() < deadline:
        yield
        time.sleep(pause)
        pause = min(pause * 2, 0.02)
