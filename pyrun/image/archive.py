"""An image's files: of a directory, or of a tar archive that is read in place."""

from __future__ import annotations

import posix

from pyrun._native import lib
from pyrun.base import files, jsonio
from pyrun.base.errors import Error, words
from pyrun.image import tar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PIECE = 256 << 10
DOCUMENT = 4 << 20  # bytes of a JSON document: containerd takes no more either
LINKS = 10  # symlinks on the way to a member
RESOLVE_NO_MAGICLINKS, RESOLVE_BENEATH = 2, 8  # openat2(2)
PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "Zstandard", b"\xfd7zXZ": "xz", b"BZh": "bzip2"}


class Blob:
    """A part of an open file, read in order."""

    def __init__(self, fd: int, start: int, size: int, name: str) -> None:
        self.fd, self.start, self.size, self.name = fd, start, size, name
        self.position = 0

    def read(self, size: int) -> bytes:
        try:
            data = posix.pread(self.fd, min(size, self.size - self.position), self.start + self.position)
        except OSError as fault:
            raise files.named(fault, self.name) from None
        self.position += len(data)
        return data

    def skip(self, size: int) -> None:
        if size > self.size - self.position:
            raise Error(f"{self.name}: the file ends too early")
        self.position += size


class Files:
    """The files of an image by their names in it, like `blobs/sha256/…`."""

    path: str

    def find(self, name: str) -> Blob | None:
        """The file of that name, from its beginning. Raises Error for what is no file, or not to be read."""
        raise NotImplementedError

    def open(self, name: str) -> Blob:
        blob = self.find(name)
        if blob is None:
            raise Error(f"{self.path}: {name} is missing")
        return blob

    def document(self, name: str) -> Any:
        """The value of a JSON file, and its text."""
        blob = self.open(name)
        if blob.size > DOCUMENT:
            raise Error(f"{blob.name}: more than {DOCUMENT >> 20} MiB")
        return self.parse(blob.name, blob.read(blob.size))

    @staticmethod
    def parse(name: str, data: bytes) -> Any:
        try:
            return jsonio.loads(data)
        except Error as fault:
            raise Error(f"{name}: {fault}") from None


class Directory(Files):
    def __init__(self, path: str, fd: int) -> None:
        self.path, self.fd = path, fd

    def find(self, name: str) -> Blob | None:
        # RESOLVE_BENEATH: an image is no way to the host's files.
        flags = posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC
        fd = lib.native_openat2(self.fd, name.encode("utf-8", "surrogateescape"), flags, 0, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
        if fd == -2:  # ENOENT
            return None
        whole = f"{self.path}/{name}"
        if fd < 0:
            raise Error(f"{whole}: {words(-fd)}")
        about = posix.fstat(fd)
        if about.st_mode & files.S_IFMT != files.S_IFREG:
            posix.close(fd)
            raise Error(f"{whole}: not a regular file")
        return Blob(fd, 0, about.st_size, whole)


class Archive(Files):
    def __init__(self, path: str, fd: int, size: int) -> None:
        self.path, self.fd = path, fd
        self.members: dict[str, tuple[int, int]] = {}  # name -> start, size
        self.links: dict[str, str] = {}
        whole = Blob(fd, 0, size, path)
        for entry in tar.entries(whole):
            name = files.clean(entry.name)[1:]
            self.members.pop(name, None)
            self.links.pop(name, None)
            if entry.kind == tar.FILE and entry.parts is None:
                self.members[name] = whole.position, entry.size
            elif entry.kind == tar.LINK:
                self.links[name] = files.clean(entry.target)[1:]
            elif entry.kind == tar.SYMLINK:  # docker and podman have such to a layer that is there already
                directory = "" if entry.target.startswith("/") else name.rpartition("/")[0]
                self.links[name] = files.clean(f"{directory}/{entry.target}")[1:]

    def find(self, name: str) -> Blob | None:
        at = name
        for _ in range(LINKS):
            if at not in self.links:
                break
            at = self.links[at]
        return Blob(self.fd, *self.members[at], f"{self.path}: {name}") if at in self.members else None


def open_image(path: str) -> Files:
    """The files of an image at a path of the host. OSError, Error."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC)
    about = posix.fstat(fd)
    kind = about.st_mode & files.S_IFMT
    if kind == files.S_IFDIR:
        return Directory(path, fd)
    if kind != files.S_IFREG:
        raise Error(f"{path}: an image is a directory or a tar file")
    begin = posix.pread(fd, 6, 0)
    for magic, name in PACKED.items():
        if begin.startswith(magic):
            raise Error(f"{path}: the archive is packed with {name}: unpack that first (its layers may be packed)")
    return Archive(path, fd, about.st_size)
