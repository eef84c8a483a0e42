"""Paths as text, files of the host that are read or written whole, and the small files of procfs, cgroupfs and sysfs."""

from __future__ import annotations

import posix

from pyrun.base.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

S_IFMT, S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO = 0o170000, 0o100000, 0o040000, 0o120000, 0o020000, 0o060000, 0o010000
OPEN_TREE_CLONE = 1  # open_tree(2)
AT_FDCWD = -100
"""In the place of a directory's fd: the working directory (openat(2))."""
LIMIT = 64 << 20
"""Bytes of a file that is read whole: no config comes near it, and a device that gives bytes without end goes beyond."""


def clean(path: str) -> str:
    """The path, from / on, without `.`, `..` and doubled slashes. `..` stops at the top; symbolic links are not looked at."""
    names = []
    for name in path.split("/"):
        if name == "..":
            del names[-1:]
        elif name not in ("", "."):
            names.append(name)
    return "/" + "/".join(names)


# --- reading and writing. Every OSError has the name of the file, which posix.read() and posix.write() leave out.


def named(fault: OSError, path: str) -> OSError:
    """The same OSError with the name of its file."""
    return OSError(fault.errno, fault.strerror, path)


def read_line(path: str) -> bytes:
    """The content of a small file of the kernel's, which comes with one read. OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(fd, 4096)
    except OSError as fault:
        raise named(fault, path) from None
    finally:
        posix.close(fd)


def read(path: str) -> bytes:
    """The content of a file of any kind, also of a pipe. OSError; Error: there is no end of it."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return read_fd(fd, path)
    finally:
        posix.close(fd)


def read_fd(fd: int, name: str) -> bytes:
    """The rest of an open file. name: for messages. OSError; Error: there is no end of it."""
    parts, size = [], 0
    try:
        while part := posix.read(fd, 65536):
            parts.append(part)
            size += len(part)
            if size > LIMIT:
                raise Error(f"{name}: more than {LIMIT >> 20} MiB")
    except OSError as fault:
        raise named(fault, name) from None
    return b"".join(parts)


class Odd(Error):
    """Where a regular file is wanted something else was found, or one too large to be meant."""


def read_regular(path: str, flags: int = 0) -> bytes:
    """The content of a regular file. A FIFO there does not make us wait. OSError, Odd."""
    return read_owned(path, flags)[0]


def read_owned(path: str, flags: int = 0) -> tuple[bytes, int]:
    """The content of a regular file, and the uid of its owner. OSError, Odd."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC | flags)
    try:
        about = posix.fstat(fd)
        if about.st_mode & S_IFMT != S_IFREG:
            raise Odd(f"{path}: {'is a directory' if about.st_mode & S_IFMT == S_IFDIR else 'not a regular file'}")
        if about.st_size > LIMIT:
            raise Odd(f"{path}: more than {LIMIT >> 20} MiB")
        data = posix.read(fd, about.st_size)
        # One read gives all of it, unless somebody writes it just now.
        return data if len(data) == about.st_size else data + read_fd(fd, path), about.st_uid
    except OSError as fault:
        raise named(fault, path) from None
    finally:
        posix.close(fd)


def drop(fd: int) -> None:
    """Closes a file whose error would matter to nobody, or that may be closed: close(2) lets go of a file whatever it says."""
    posix.closerange(fd, fd + 1)


def write(path: str, *texts: str) -> None:
    """Writes texts to a file of the kernel's, each with one write(2), as it wants them. OSError."""
    fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
    try:
        for text in texts:
            posix.write(fd, text.encode())
    except OSError as fault:
        raise named(fault, path) from None
    finally:
        posix.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Writes all of these bytes to an open file, however little one write(2) takes. OSError."""
    while data:
        data = data[posix.write(fd, data) :]


def create(path: str, data: bytes, mode: int) -> None:
    """Makes a file of these bytes, which must not be there: nothing that lies in its place is followed. OSError: nothing stays."""
    fd = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC, mode)
    try:
        try:
            write_all(fd, data)
        finally:
            posix.close(fd)
    except BaseException as fault:
        remove(path)
        if isinstance(fault, OSError):
            raise named(fault, path) from None
        raise


def replace(path: str, data: bytes, mode: int, move: Callable[[str, str], None] = posix.rename) -> None:
    """Makes `path` a file of these bytes; a reader finds the old one or the new, never a part. OSError: the old one stays.

    move(temporary, path): puts the one in the place of the other.

    All files of ours on the host are written here: the name before the rename cannot be guessed, so nobody has put a
    symbolic link or a FIFO there.
    """
    temporary = f"{path.rpartition('/')[0] or ('/' if path[:1] == '/' else '.')}/.pyrun.{posix.urandom(8).hex()}"
    try:
        create(temporary, data, mode)
    except OSError as fault:
        raise named(fault, path) from None
    try:
        move(temporary, path)
    except BaseException as fault:
        remove(temporary)
        if isinstance(fault, OSError):
            raise named(fault, path) from None
        raise


def remove(path: str) -> None:
    """Removes a file; one that is gone is fine. OSError."""
    try:
        posix.unlink(path)
    except FileNotFoundError:
        pass


def is_directory(path: str) -> bool:
    """Whether it is one; OSError where that cannot be found out."""
    try:
        return posix.stat(path).st_mode & S_IFMT == S_IFDIR
    except (FileNotFoundError, NotADirectoryError):
        return False


def make_tree(path: str, mode: int) -> None:
    """Makes a directory, and those above it that are missing (mkdir -p). OSError as posix gives it."""
    try:
        _make_directory(path, mode)
    except FileNotFoundError:
        parent = path.rstrip("/").rpartition("/")[0]
        if not parent:
            raise
        make_tree(parent, mode)
        _make_directory(path, mode)


def _make_directory(path: str, mode: int) -> None:
    try:
        posix.mkdir(path, mode)
    except FileExistsError:
        pass


def find_program(name: str, path: bytes) -> str | None:
    """The first executable file of that name in a list like $PATH; None where there is none."""
    for directory in path.decode("utf-8", "surrogateescape").split(":"):
        if directory[:1] == "/" and posix.access(f"{directory}/{name}", posix.X_OK):
            return f"{directory}/{name}"
    return None


def file_system(path: str) -> int | None:
    """What kind of file system it is on: f_type of statfs(2), 0 if unknown, None if nothing is there. OSError."""
    from pyrun._native import lib

    try:
        fd = posix.open(path, posix.O_PATH | posix.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return lib.native_file_system(fd)
    finally:
        posix.close(fd)
