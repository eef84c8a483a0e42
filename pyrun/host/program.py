"""Why a file cannot be executed: what execve(2) has seen when it gave an errno, in words."""

from __future__ import annotations

import errno
import posix
import struct

from pyrun.base import files
from pyrun.host.rootfs import Found, Missing, Rootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

INTERPRETERS = 5  # scripts that the kernel follows, one the interpreter of the other
LINE = 256  # bytes of the #! line that the kernel looks at
PT_INTERP = 3
HEADERS = 256  # program headers that are looked at
# e_machine of elf(5) -> the machine as uname(1) calls it; where both orders of bytes are met, that of the most significant first.
MACHINES = {
    2: "sparc", 3: "i386", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "arm", 43: "sparc64", 62: "x86_64", 183: "aarch64", 243: "riscv",
    258: "loongarch64",
}  # fmt: skip
LITTLE = {"mips": "mipsel", "ppc64": "ppc64le"}

MISSING = "it is not there"


class User:
    """Who executes it, as the host sees them: a uid, the gids, and whether no mode of a file can hold them off."""

    def __init__(self, uid: int, gids: frozenset[int], almighty: bool) -> None:
        self.uid, self.gids, self.almighty = uid, gids, almighty

    def may_execute(self, stat: posix.stat_result) -> bool:
        mode = stat.st_mode
        if self.almighty:
            return bool(mode & 0o111) or mode & files.S_IFMT == files.S_IFDIR
        return bool(mode & (0o100 if stat.st_uid == self.uid else 0o010 if stat.st_gid in self.gids else 0o001))


class Judge:
    """number: the errno of execve. noexec(found): which mount forbids to execute a file, '' if none does."""

    def __init__(self, rootfs: Rootfs, user: User, number: int, noexec: Callable[[Found], str]) -> None:
        self.rootfs, self.user, self.noexec = rootfs, user, noexec
        self.denied, self.unknown = number == errno.EACCES, number in (errno.ENOEXEC, errno.ELIBBAD)

    def fault(self, path: str, depth: int = 0) -> str:
        """What keeps a program from being executed; '' if nothing is seen. Raises OSError and Unknown where it cannot be seen."""
        try:
            found = self.rootfs.find(path)
        except Missing as missing:
            if self.denied and (fault := self._unsearchable(missing.above)):
                return fault
            return MISSING if str(missing) == files.clean(path) else f"it is a link to {missing}, which is not there"
        if found.kind() != files.S_IFREG:
            return "it is a directory" if found.kind() == files.S_IFDIR else "it is no regular file"
        if self.denied and (fault := self._denial(found)):
            return fault
        head = found.read(LINE)
        if head[:2] == b"#!":
            return self._script(head, depth)
        if head[:4] == b"\x7fELF":
            return self._elf(found, head, depth)
        return "it is empty" if not head else "it is neither an ELF file nor a script that begins with #!" if self.unknown else ""

    def _denial(self, found: Found) -> str:
        mode = _mode(found.stat)
        if fault := self._unsearchable(found.above):
            return fault
        if not found.stat.st_mode & 0o111:
            return f"nobody may execute it ({mode}): chmod +x"
        return self.noexec(found) if self.user.may_execute(found.stat) else f"user {self.user.uid} may not execute it ({mode})"

    def _unsearchable(self, directories: list[tuple[str, posix.stat_result]]) -> str:
        closed = ((name, stat) for name, stat in directories if not self.user.may_execute(stat))
        return next((f"user {self.user.uid} may not search {name} ({_mode(stat)})" for name, stat in closed), "")

    def _script(self, head: bytes, depth: int) -> str:
        line = head[2:].split(b"\n")[0].split(b"\0")[0].strip(b" \t")
        name = line.replace(b"\t", b" ").partition(b" ")[0].decode("utf-8", "surrogateescape")
        if not name:
            return "its #! line names no interpreter"
        if name.endswith("\r"):
            return f'its #! line ends with a carriage return, which makes the interpreter "{name}": convert its DOS line ends (dos2unix)'
        if depth == INTERPRETERS:
            return "too many interpreters are scripts themselves"
        return self._other(f"its interpreter {name} (#! line)", name, depth)

    def _elf(self, found: Found, head: bytes, depth: int) -> str:
        wide, order = head[4:5] == b"\2", "<" if head[5:6] == b"\1" else ">"
        if len(head) < (64 if wide else 52):
            return "it is an ELF file that was cut short"
        machine = machine_name(head)
        own = posix.uname().machine
        if self.unknown and machine != own:
            return f"it is for {machine}, and this machine is {own}"
        table, size, count = (
            (*struct.unpack_from(f"{order}Q", head, 32), *struct.unpack_from(f"{order}HH", head, 54)) if wide
            else (*struct.unpack_from(f"{order}I", head, 28), *struct.unpack_from(f"{order}HH", head, 42))
        )  # fmt: skip
        entry = f"{order}IIQQQQ" if wide else f"{order}IIIII"
        least = struct.calcsize(entry)
        headers = found.read(size * min(count, HEADERS), table) if least <= size <= 128 and table < 1 << 62 else b""
        if self.unknown and (len(headers) < size * min(count, HEADERS) or not headers):
            return f"it is an ELF file that was cut short, or damaged ({found.stat.st_size} bytes)"
        for at in range(0, len(headers) - least + 1, size):
            fields = struct.unpack_from(entry, headers, at)
            if fields[0] == PT_INTERP:
                begin, length = (fields[2], fields[5]) if wide else (fields[1], fields[4])
                name = found.read(min(length, 4096), min(begin, 1 << 62)).split(b"\0")[0].decode("utf-8", "surrogateescape")
                return self._other(f"its loader {name}", name, depth) if depth <= INTERPRETERS and name else ""
        return ""

    def _other(self, what: str, name: str, depth: int) -> str:
        """The fault of a file that another one needs."""
        fault = self.fault(name, depth + 1)
        return f"{what}{' ' + fault[3:] if fault.startswith('it is ') else ': ' + fault}" if fault else ""


def _mode(stat: posix.stat_result) -> str:
    return f"mode {stat.st_mode & 0o7777:04o}, of user {stat.st_uid}"


def machine_name(head: bytes) -> str:
    """What machine an ELF file is for, as uname(1) calls it."""
    little = head[5:6] == b"\1"
    (number,) = struct.unpack_from("<H" if little else ">H", head, 18)
    name = MACHINES.get(number, f"machine {number} of elf(5)")
    if name == "riscv":
        return "riscv64" if head[4:5] == b"\2" else "riscv32"
    return LITTLE.get(name, name) if little else name
