"""Will it run here? The program: whether the root file system, with what is mounted on it, has it, and this machine can execute it."""

from __future__ import annotations

import errno
import posix

from pyrun.container import why
from pyrun.host.program import MISSING, Judge
from pyrun.host.rootfs import Rootfs, Unknown
from pyrun.plan.context import rootfs_path
from pyrun.plan.process import Program
from pyrun.validate.roots import exists
from pyrun.validate.subject import Found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.validate.subject import Subject

BINFMT = "/proc/sys/fs/binfmt_misc"
# Words of a fault -> the cure.
CURES = {
    "noexec": "take noexec away, or put the program elsewhere",
    "execute it": "chmod +x it in the root file system",
    "carriage return": "convert its line ends",
    "#!": "put the interpreter there, or correct the first line",
    "loader": "add the C library that it was linked with, or take a static program",
    "it is for": "take an image for this machine, or register an emulator (binfmt_misc)",
}


def program(subject: Subject) -> Iterator[Found]:
    config, root = subject.config, rootfs_path(subject.config, subject.bundle)
    if not config["process"] or not exists(root):
        return
    place = why.Place(config, None, root, subject.bundle)
    rootfs = Rootfs(root, {path: source for path, (source, _) in why.mounts_of(place).items()})
    try:
        fault = _fault(place, rootfs)
    except (OSError, Unknown):  # it cannot be seen from here
        return
    finally:
        rootfs.close()
    if fault:
        cure = next((cure for words, cure in CURES.items() if words in fault), "put it there, or correct the name")
        yield Found("process.args[0]", fault, cure)


def _fault(place: why.Place, rootfs: Rootfs) -> str:
    """What execve(2) would say of the first candidate that is there; '' if nothing. Raises OSError, Unknown."""
    process, user = place.process, why.user_of(place)
    denied = ""
    for name in (candidates := Program(process, ()).candidates):
        path = name if name.startswith("/") else f"{process['cwd']}/{name}"
        try:
            # First whether it may be executed, then whether it can be.
            faults = [Judge(rootfs, user, number, lambda found: why.noexec(found, place)).fault(path) for number in (errno.EACCES, errno.ENOEXEC)]
        except NotADirectoryError:
            continue
        if faults[0] == MISSING:
            continue
        fault = faults[0] or ("" if _emulated(faults[1]) else faults[1])
        if not fault:
            return ""
        denied = denied or f"{name}: {fault}"
    if denied:
        return denied
    name = process["args"][0]
    return f'there is no "{name}" in the root file system' + (f", in none of {len(candidates)} directories of $PATH" if "/" not in name else "")


def _emulated(fault: str) -> bool:
    """Whether a file of another machine, or of no known form, may run all the same."""
    if fault.startswith("it is for i386,") and posix.uname().machine == "x86_64":
        return True
    try:
        return bool(set(posix.listdir(BINFMT)) - {"register", "status"}) and ("it is for" in fault or "it is neither" in fault)
    except OSError:
        return False
