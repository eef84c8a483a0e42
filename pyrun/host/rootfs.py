"""A container's files, looked at from outside, where init has gone already or must not be asked.

What lies there is anybody's: so each name is opened alone, never through a symbolic link, and `..` goes back to what was opened
before. Nothing is opened to be read but a regular file, and of that a few bytes.
"""

from __future__ import annotations

import errno
import posix

from pyrun.base import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    Above = tuple[str, posix.stat_result]
    Name = tuple[str, int]

LINKS = 40  # as the kernel (path_resolution(7))
ST_NOEXEC = 8
_LOOK = posix.O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC


class Unknown(Exception):
    """Where a path leads cannot be seen from here: into a file system that the container alone had."""


class Missing(Exception):
    """str(): the path that is not there, symbolic links resolved as far as it is. above: as of Found."""

    def __init__(self, path: str, above: list[Above]) -> None:
        Exception.__init__(self, path)
        self.above = above


class Found:
    """A file: its path without symbolic links, fd (O_PATH), posix.stat_result, and (path, stat_result) of the directories above."""

    def __init__(self, path: str, fd: int, above: list[Above]) -> None:
        self.path, self.fd, self.above = path, fd, above
        self.stat = posix.fstat(fd)

    def kind(self) -> int:
        return self.stat.st_mode & files.S_IFMT

    def is_noexec(self) -> bool:
        return bool(posix.fstatvfs(self.fd).f_flag & ST_NOEXEC)

    def mount(self) -> str:
        """The number by which mountinfo knows the mount (str)."""
        lines = files.read_line(f"/proc/self/fdinfo/{self.fd}").decode().splitlines()
        return next((line.split()[1] for line in lines if line.startswith("mnt_id:")), "")

    def read(self, size: int, at: int = 0) -> bytes:
        """Some bytes of a regular file. It takes the right to read it."""
        fd = posix.open(f"/proc/self/fd/{self.fd}", posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC)
        try:
            return posix.pread(fd, size, at)
        finally:
            posix.close(fd)


class Rootfs:
    """root: the path of the container's root on the host. over: destination -> what is mounted there, as a path of the host;
    '' where it is no file of the host.
    """

    def __init__(self, root: str, over: Mapping[str, str]) -> None:
        self.root, self.over = root, over
        self.opened: list[int] = []

    def close(self) -> None:
        for fd in self.opened:
            posix.close(fd)
        self.opened = []

    def find(self, path: str) -> Found:
        """Raises Missing, Unknown, OSError."""
        here = [("", self._open(self.root, posix.O_PATH | posix.O_CLOEXEC))]
        todo = path.split("/")[::-1]
        links = 0
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            if name == "..":
                del here[max(1, len(here) - 1) :]
                continue
            fd = self._enter(here, name, todo)
            if posix.fstat(fd).st_mode & files.S_IFMT != files.S_IFLNK:
                here.append((name, fd))
                continue
            links += 1
            if links > LINKS:
                raise OSError(errno.ELOOP, posix.strerror(errno.ELOOP), path)
            target = posix.readlink("", dir_fd=fd)
            if target.startswith("/"):
                del here[1:]
            todo += target.split("/")[::-1]
        return Found(_joined(here), here[-1][1], _directories(here[:-1]))

    def _enter(self, here: list[Name], name: str, rest: list[str]) -> int:
        path = _joined([*here, (name, -1)])
        if (source := self.over.get(path)) == "":
            raise Unknown(path)
        try:
            return self._open(source, posix.O_PATH | posix.O_CLOEXEC) if source else self._open(name, _LOOK, here[-1][1])
        except FileNotFoundError:
            raise Missing(files.clean("/".join([path, *rest[::-1]])), _directories(here)) from None

    def _open(self, path: str, flags: int, directory: int | None = None) -> int:
        self.opened.append(posix.open(path, flags, dir_fd=directory))
        return self.opened[-1]


def _joined(here: list[Name]) -> str:
    return "/".join(name for name, _ in here) or "/"


def _directories(here: list[Name]) -> list[Above]:
    return [(_joined(here[:count]), posix.fstat(here[count - 1][1])) for count in range(1, len(here) + 1)]
