"""A root file system that is being made of layers. Every name in an archive is resolved inside of the root, and nothing else: a symlink of
an earlier layer leads to where it would lead in the container. The last part of a name is never followed.
"""

from __future__ import annotations

import errno
import posix
import stat

from pyrun._native import lib
from pyrun.base import files
from pyrun.image import tar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyrun.image.owners import Owners
    from pyrun.image.tar import Entry

RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_IN_ROOT = 1, 2, 4, 16  # openat2(2)
INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV
AS_IT_IS = INSIDE | RESOLVE_NO_SYMLINKS
PATH = posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC
LIST = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC
FRESH = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
SYMLINKS = 40  # as many as the kernel follows on one way
AGAIN = 1000  # times: EAGAIN tells that somebody, anywhere, has moved a directory while `..` was resolved
OPEN = 0o700  # of directories, while they are filled


class Unfit(Exception):
    """What is wrong with an entry."""


def inside(name: str) -> str:
    """A name in an archive as a path from the root on, without a slash at its begin. Raises Unfit."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Unfit(f'"{name}" has a ".." in it')
    return "/".join(parts)


class Tree:
    """fd: of the root directory; trash: an fd of a directory of the same file system, where what is removed goes first."""

    def __init__(self, fd: int, trash: Trash, owners: Owners) -> None:
        self.fd, self.trash, self.owners = fd, trash, owners
        self.root = posix.readlink(f"/proc/self/fd/{fd}")
        # Where directories really are -> (mode, mtime), which are set at the end: what is done in them would change the time, and
        # some may not be written to.
        self.directories: dict[str, tuple[int, int | None]] = {"": (0o755, None)}
        self.made: set[str] = set()  # of this layer, with all directories above
        self.last: tuple[str, int, str] | None = None  # the parent that was asked for last: its name, an fd, and where it really is

    # --- where things are -------------------------------------------------------------------------------------------------

    def open(self, path: str, flags: int, resolve: int = INSIDE) -> int:
        """OSError."""
        for _ in range(AGAIN):
            fd = lib.native_openat2(self.fd, path.encode("utf-8", "surrogateescape") or b".", flags, 0, resolve)
            if fd != -errno.EAGAIN:
                break
        if fd < 0:
            raise OSError(-fd, posix.strerror(-fd), path)
        return fd

    def real(self, fd: int) -> str:
        """Where an open directory is, from the root on."""
        return posix.readlink(f"/proc/self/fd/{fd}")[len(self.root) :]

    def parent(self, path: str, make: bool = True) -> tuple[int, str]:
        """An fd of the directory that a path with that many slashes lies in, and where it really is. OSError."""
        name = path.rpartition("/")[0]
        if self.last and self.last[0] == name:
            return self.last[1:]
        try:
            fd = self.open(name, PATH)
        except FileNotFoundError:
            if not make:
                raise
            self._make_directories(name)
            fd = self.open(name, PATH)
        self.forget()
        self.last = name, fd, self.real(fd)
        return self.last[1:]

    def forget(self) -> None:
        """What lies at a name has changed."""
        if self.last:
            posix.close(self.last[1])
            self.last = None

    def _make_directories(self, path: str, depth: int = SYMLINKS) -> None:
        """Makes the directories of a path that are missing, also where a symlink leads to a place that is not there yet."""
        done: list[str] = []
        for name in path.split("/"):
            above, whole = "/".join(done), "/".join([*done, name])
            done.append(name)
            try:
                posix.close(self.open(whole, PATH))
                continue
            except FileNotFoundError:
                pass
            fd = self.open(above, PATH)
            try:
                real = self.real(fd)
                try:
                    target = posix.readlink(name, dir_fd=fd)
                except FileNotFoundError:
                    posix.mkdir(name, OPEN, dir_fd=fd)
                    self._note(real, name)
                    self.directories[f"{real}/{name}"] = 0o755, None
                    continue
            finally:
                posix.close(fd)
            if depth == 0:
                raise OSError(errno.ELOOP, posix.strerror(errno.ELOOP), path)
            self._make_directories(files.clean(target if target.startswith("/") else f"{real}/{target}")[1:], depth - 1)

    def _note(self, real: str, name: str) -> None:
        path = f"{real}/{name}"
        while path not in self.made and path:
            self.made.add(path)
            path = path.rpartition("/")[0]

    # --- files ------------------------------------------------------------------------------------------------------------

    def begin_layer(self) -> None:
        self.made.clear()

    def add(self, entry: Entry, path: str, data: Iterable[tuple[int, bytes]]) -> None:
        """Makes what an entry says. path: its name, clean; '' is the root. data: of a file, (offset, bytes). OSError, Unfit, Error."""
        if not path:
            self._root(entry)
            return
        directory, real = self.parent(path)
        name = path.rpartition("/")[2]
        if entry.kind == tar.DIRECTORY:
            self._directory(entry, directory, real, name)
        elif entry.kind == tar.LINK:
            self._link(entry, directory, name)
        else:
            self._clear_way(directory, name)
            self._make(entry, directory, name, data)
        self._note(real, name)

    def _root(self, entry: Entry) -> None:
        if entry.kind != tar.DIRECTORY:
            raise Unfit(f"the root itself is a {entry.kind}")
        fd = self.open("", LIST)
        try:
            self.owners.give(fd, entry)
        finally:
            posix.close(fd)
        self.directories[""] = entry.mode, entry.mtime

    def _directory(self, entry: Entry, parent: int, real: str, name: str) -> None:
        """Makes a directory; one that is there takes what the entry says of it."""
        try:
            there = stat.S_ISDIR(posix.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            there = False
        if not there:
            self._clear_way(parent, name)
            posix.mkdir(name, OPEN, dir_fd=parent)
        self.owners.give(name, entry, parent)
        self.directories[f"{real}/{name}"] = entry.mode, entry.mtime

    def _make(self, entry: Entry, directory: int, name: str, data: Iterable[tuple[int, bytes]]) -> None:
        mode = entry.mode & 0o7777
        if entry.kind == tar.FILE:
            self._file(entry, directory, name, data)
            return
        if entry.kind == tar.SYMLINK:
            posix.symlink(entry.target, name, dir_fd=directory)
        elif entry.kind == tar.FIFO:
            posix.mknod(name, files.S_IFIFO | 0o600, dir_fd=directory)
        else:
            kind = files.S_IFCHR if entry.kind == tar.CHARACTER else files.S_IFBLK
            if not self.owners.all:  # the kernel lets root alone make them, of the first user namespace
                self.owners.leave("devices, which only root may make, the node", entry.name)
                return
            posix.mknod(name, kind | 0o600, posix.makedev(*entry.device), dir_fd=directory)
        self.owners.give(name, entry, directory)
        if entry.kind != tar.SYMLINK:
            posix.chmod(name, mode, dir_fd=directory)
        posix.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=directory, follow_symlinks=False)

    def _file(self, entry: Entry, directory: int, name: str, data: Iterable[tuple[int, bytes]]) -> None:
        fd = posix.open(name, FRESH, 0o600, dir_fd=directory)
        try:
            for offset, piece in data:
                while piece:
                    written = posix.pwrite(fd, piece, offset)
                    piece, offset = piece[written:], offset + written
            if entry.parts is not None:
                posix.ftruncate(fd, entry.size)
            self.owners.give(fd, entry)
            posix.chmod(fd, entry.mode & 0o7777)  # after the owner, whose change takes setuid away
            posix.utime(fd, ns=(entry.mtime, entry.mtime))
        finally:
            posix.close(fd)

    def _link(self, entry: Entry, directory: int, name: str) -> None:
        """A hard link, also one to a symlink. What it is to has to be there already, wherever in the root."""
        target = inside(entry.target)
        above, _, last = target.rpartition("/")
        try:
            source = self.open(above, PATH)
            try:
                about = posix.stat(last, dir_fd=source, follow_symlinks=False)
                if stat.S_ISDIR(about.st_mode):
                    raise Unfit(f'a hard link to "{entry.target}", which is a directory')
                if self._inode(directory, name) != about.st_ino:
                    self._clear_way(directory, name)
                    posix.link(last, name, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False)
            finally:
                posix.close(source)
        except (FileNotFoundError, NotADirectoryError):
            raise Unfit(f'a hard link to "{entry.target}", which is not there') from None

    @staticmethod
    def _inode(directory: int, name: str) -> int | None:
        try:
            return posix.stat(name, dir_fd=directory, follow_symlinks=False).st_ino
        except FileNotFoundError:
            return None

    # --- removal ----------------------------------------------------------------------------------------------------------

    def _clear_way(self, directory: int, name: str) -> None:
        """Removes what lies at a name."""
        try:
            posix.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            return
        except (IsADirectoryError, PermissionError):
            self.trash.take(directory, name)
        if self.last and self.last[1] != directory:
            self.forget()

    def whiteout(self, path: str) -> None:
        """Removes what lower layers have at a path; what this layer has brought stays."""
        try:
            directory, real = self.parent(path, make=False)
        except (FileNotFoundError, NotADirectoryError):
            return
        self._hide(directory, real, path.rpartition("/")[2])

    def _hide(self, directory: int, real: str, name: str) -> None:
        if f"{real}/{name}" not in self.made:
            self._clear_way(directory, name)
        else:
            self.opaque(f"{real}/{name}", AS_IT_IS)

    def opaque(self, path: str, resolve: int = INSIDE) -> None:
        """Removes what lower layers have in a directory; what this layer has brought stays."""
        try:
            fd = self.open(path.lstrip("/"), LIST, resolve)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as fault:
            if fault.errno != errno.ELOOP:  # a symlink that this layer has brought
                raise
            return
        waiting = [self.real(fd)]
        posix.close(fd)
        while waiting:
            real = waiting.pop()
            fd = self.open(real[1:], LIST, AS_IT_IS)
            try:
                for name in posix.listdir(fd):
                    if f"{real}/{name}" not in self.made:
                        self._clear_way(fd, name)
                    elif stat.S_ISDIR(posix.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                        waiting.append(f"{real}/{name}")
            finally:
                posix.close(fd)

    # --- the end ----------------------------------------------------------------------------------------------------------

    def directory(self, path: str) -> int:
        """An fd of a directory, which is made if it is not there. OSError."""
        path = "/".join(part for part in path.split("/") if part)
        try:
            return self.open(path, PATH)
        except FileNotFoundError:
            self._make_directories(path)
            return self.open(path, PATH)

    def finish(self) -> None:
        """Gives directories their modes and times, those in others first. OSError."""
        self.forget()
        for path in sorted(self.directories, reverse=True):
            mode, mtime = self.directories[path]
            try:
                fd = self.open(path[1:], LIST, AS_IT_IS)
            except (FileNotFoundError, NotADirectoryError):  # it was removed, or something else is there now
                continue
            except OSError as fault:
                if fault.errno != errno.ELOOP:
                    raise
                continue
            try:
                posix.chmod(fd, mode & 0o7777)
                if mtime is not None:
                    posix.utime(fd, ns=(mtime, mtime))
            finally:
                posix.close(fd)


class Trash:
    """Where directories are removed. fd: of a directory for that alone."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.count = max((int(name) for name in posix.listdir(fd)), default=0)

    def take(self, directory: int, name: str) -> None:
        """Removes a directory with all in it. Those in it are moved out of it first: so no depth is too deep. OSError."""
        self.count += 1
        self._move(directory, name, str(self.count))
        waiting = [str(self.count)]
        while waiting:
            one = waiting.pop()
            fd = posix.open(one, LIST | posix.O_NOFOLLOW, dir_fd=self.fd)
            try:
                for child in posix.listdir(fd):
                    try:
                        posix.unlink(child, dir_fd=fd)
                    except IsADirectoryError:
                        self.count += 1
                        self._move(fd, child, str(self.count))
                        waiting.append(str(self.count))
            finally:
                posix.close(fd)
            posix.rmdir(one, dir_fd=self.fd)

    def _move(self, directory: int, name: str, to: str) -> None:
        posix.chmod(name, OPEN, dir_fd=directory)  # without rights in it, its owner could neither move nor empty it
        posix.rename(name, to, src_dir_fd=directory, dst_dir_fd=self.fd)
