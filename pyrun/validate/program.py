"""Will it run here? The program: whether the root file system, with what is mounted on it, has it, and this machine can execute it."""

from __future__ import annotations

import errno
import posix
import stat

from pyrun.base.errors import words
from pyrun.plan import mounts
from pyrun.plan.context import rootfs_path
from pyrun.plan.mounts import ATTR_NOEXEC
from pyrun.plan.process import Program
from pyrun.validate.roots import exists, forbids_programs
from pyrun.validate.subject import Found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.validate.subject import Subject

LINKS_MAX = 40  # path_resolution(7)
HEAD = 65536
# elf(5): e_machine, by the words of uname(2); and what it is called.
MACHINES = {"x86_64": (62, 3), "aarch64": (183, 40), "armv7l": (40,), "riscv64": (243,), "s390x": (22,), "ppc64le": (21,), "i686": (3,),
            "loongarch64": (258,)}  # fmt: skip
NAMES = {3: "i386", 8: "mips", 21: "ppc64", 22: "s390x", 40: "arm", 62: "x86-64", 183: "arm64", 243: "riscv", 258: "loongarch"}
PT_INTERP = 3
BINFMT = "/proc/sys/fs/binfmt_misc"
WHERE = "process.args[0]"


class Unknown(Exception):
    """A path that leads to where nobody can look before the container is made: on a tmpfs, an image that is mounted."""


class Inside:
    """Paths of the container, as they are on the host."""

    def __init__(self, subject: Subject) -> None:
        self.rootfs = rootfs_path(subject.config, subject.bundle)
        self.mounts = [mount for mount in mounts.parse(subject.config, subject.bundle) if not mount.remount]

    def find(self, path: str) -> tuple[str, str]:
        """(the path on the host, the one in the container) of a file, with all symbolic links followed. OSError, Unknown."""
        done, rest, links = "", [part for part in path.split("/") if part], 0
        while rest:
            part = rest.pop(0)
            if part in ("", ".", ".."):
                done = done.rpartition("/")[0] if part == ".." else done
                continue
            here = f"{done}/{part}"
            if not stat.S_ISLNK(posix.lstat(self._host(here)).st_mode):
                done = here
                continue
            links += 1
            if links > LINKS_MAX:
                raise OSError(errno.ELOOP, "")
            target = posix.readlink(self._host(here))
            done, rest = "" if target[:1] == "/" else done, [*target.split("/"), *rest]
        return self._host(done or "/"), done or "/"

    def _host(self, path: str) -> str:
        if (mount := self.mount_of(path)) is None:
            return self.rootfs + path
        if not mount.bind:
            raise Unknown
        return mount.source + path[len(mount.destination.rstrip("/")) :]

    def mount_of(self, path: str) -> mounts.Mount | None:
        """The last one at or above a path; None: it lies in the root file system itself."""
        above = [mount for mount in self.mounts if mount.destination in (path, "/") or path.startswith(f"{mount.destination}/")]
        return max(above, key=lambda mount: len(mount.destination)) if above else None

    def forbids_programs(self, inside: str, outside: str) -> bool:
        mount = self.mount_of(inside)
        return bool(mount and mount.point.set & ATTR_NOEXEC) or (mount is not None and forbids_programs(outside))


def program(subject: Subject) -> Iterator[Found]:
    config = subject.config
    if not config["process"] or not exists(rootfs_path(config, subject.bundle)):
        return
    inside, name = Inside(subject), config["process"]["args"][0]
    cwd = config["process"]["cwd"]
    denied = ""
    for candidate in Program(config["process"], ()).candidates:
        try:
            outside, place = inside.find(candidate if candidate[:1] == "/" else f"{cwd}/{candidate}")
            status = posix.stat(outside)
        except Unknown:
            return
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                denied = denied or f"{candidate}: {words(error.errno)}"
            continue
        if not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o111:
            denied = denied or f"{candidate} is {'not executable' if stat.S_ISREG(status.st_mode) else 'no file'}"
            continue
        if inside.forbids_programs(place, outside):
            yield Found(WHERE, f"{place} lies on a mount that is noexec: it cannot be executed", "take noexec away, or put the program elsewhere")
        yield from _executable(inside, place, outside)
        return
    if denied:
        yield Found(WHERE, denied, "chmod +x it in the root file system, or name another")
    elif "/" in name:
        yield Found(WHERE, f'there is no "{name}" in the root file system', "put it there, or correct the path")
    else:
        path = Program(config["process"], ()).env.get("PATH", "the default path")
        yield Found(WHERE, f'there is no "{name}" in $PATH ({path}) of the root file system', "put it there, or correct the name or PATH")


def _executable(inside: Inside, place: str, outside: str) -> Iterator[Found]:
    """What execve(2) makes of the file's content."""
    try:
        fd = posix.open(outside, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    except OSError:  # the container's root may read it
        return
    try:
        head = posix.read(fd, HEAD)
    finally:
        posix.close(fd)
    if head[:4] == b"\x7fELF" and len(head) >= 64:
        yield from _elf(inside, place, head)
    elif head[:2] == b"#!":
        words = head[2:].partition(b"\n")[0].decode("utf-8", "replace").split()
        if words and _missing(inside, words[0]):
            yield Found(WHERE, f"{place} is a script for {words[0]}, which is not in the root file system", "put that there, or correct the line")
    elif not _binfmt():
        message = f"{place} is neither a program of this machine nor a script that begins with #!: exec format error"
        yield Found(WHERE, message, "name the interpreter in args")


def _elf(inside: Inside, place: str, head: bytes) -> Iterator[Found]:
    def number(at: int, size: int) -> int:
        return int.from_bytes(head[at : at + size], "little" if head[5] == 1 else "big")

    machine, here = number(18, 2), posix.uname().machine
    if here in MACHINES and machine not in MACHINES[here]:
        if not _binfmt():
            message = f"{place} is a program for {NAMES.get(machine, f'machine {machine}')}, and this host is {here}"
            yield Found(WHERE, message, f"take an image for {here}, or register an emulator (binfmt_misc)")
        return
    long = head[4] == 2  # 64 bits
    start, size, count = (number(32, 8), number(54, 2), number(56, 2)) if long else (number(28, 4), number(42, 2), number(44, 2))
    for at in range(start, min(start + size * count, len(head) - size), size or 1):
        if number(at, 4) == PT_INTERP:
            offset, length = (number(at + 8, 8), number(at + 32, 8)) if long else (number(at + 4, 4), number(at + 16, 4))
            loader = head[offset : offset + length].rstrip(b"\0").decode("utf-8", "replace")
            if loader and _missing(inside, loader):
                message = f"{place} needs the loader {loader}, which the root file system does not have"
                yield Found(WHERE, message, "add the C library that it was linked with, or take a static program")
            return


def _missing(inside: Inside, path: str) -> bool:
    try:
        inside.find(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (Unknown, OSError):
        pass
    return False


def _binfmt() -> bool:
    """Whether the kernel has been told of other forms of programs."""
    try:
        return bool(set(posix.listdir(BINFMT)) - {"register", "status"})
    except OSError:
        return False
